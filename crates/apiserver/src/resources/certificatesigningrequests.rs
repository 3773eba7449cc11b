//! CertificateSigningRequests: somebody asks a signer for a certificate; approval and issuing are two other writes.
//!
//! The spec is frozen at create. The main resource keeps status, `/approval` changes conditions only, `/status` the
//! rest. Approved and Denied exclude each other and are never taken back.
//! Kubernetes: `registry/certificates`, `apis/certificates/validation`.

use super::cells::{self, AGE, NAME, NONE, column};
use super::fields::{int, items, keep, remove, text, texts};
use super::{
    Column, Kind, NameRule, ORDINARY, PLAIN, Row, Rules, STATUS_VERBS, Subresource, Traits, status_of,
};
use crate::error::FieldError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use objects::name;
use serde_json::Value;

/// The kind.
pub const KIND: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    plural: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    subresources: &[
        Subresource {
            name: "approval",
            group: "",
            version: "",
            kind: "CertificateSigningRequest",
            verbs: STATUS_VERBS,
        },
        status_of("CertificateSigningRequest"),
    ],
    traits: Traits { name_rule: NameRule::PathSegment, ..PLAIN },
    rules: super::Rulebook::Fixed(&Requests),
    ..ORDINARY
};

/// The shortest life that may be asked for.
const SHORTEST_SECONDS: i64 = 600;
/// The usages that a certificate may have (`certificates/v1 KeyUsage`).
const USAGES: &[&str] = &[
    "signing",
    "digital signature",
    "content commitment",
    "key encipherment",
    "key agreement",
    "data encipherment",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
    "any",
    "server auth",
    "client auth",
    "code signing",
    "email protection",
    "s/mime",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "timestamping",
    "ocsp signing",
    "microsoft sgc",
    "netscape sgc",
];

struct Requests;

impl Rules for Requests {
    fn prepare_create(&self, object: &mut Value) {
        remove(object, "status");
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        keep(new, old, "status");
    }

    fn prepare_status(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        validate_request(&mut errors, text(spec, "request"));
        validate_usages(&mut errors, &texts(spec, "usages"));
        validate_signer(&mut errors, text(spec, "signerName"));
        if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < SHORTEST_SECONDS) {
            let detail = "may not specify a duration less than 600 seconds (10 minutes)";
            errors.push(FieldError::invalid("spec.expirationSeconds", seconds, detail));
        }
        errors.extend(validate_conditions(object));
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        validate_conditions(new)
    }

    fn validate_status(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_conditions(new);
        for decision in ["Approved", "Denied", "Failed"] {
            if has(old, decision) && !has(new, decision) {
                let detail = format!("updates may not remove a condition of type {decision:?}");
                errors.push(FieldError::forbidden("status.conditions", detail));
            }
        }
        let (before, after) = (text(&old["status"], "certificate"), text(&new["status"], "certificate"));
        if !before.is_empty() && before != after {
            let detail = "updates may not change certificate content when set";
            errors.push(FieldError::forbidden("status.certificate", detail));
        }
        errors
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }

    fn field(&self, object: &Value, _path: &str) -> String {
        text(&object["spec"], "signerName").to_string()
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            AGE,
            column("SignerName", "The signer that is asked."),
            column("Requestor", "Who asks."),
            column("RequestedDuration", "How long the certificate shall be valid."),
            column("Condition", "What has become of it."),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Row {
        let spec = &object["spec"];
        let duration = match int(spec, "expirationSeconds") {
            Some(seconds) => objects::human::duration(seconds),
            None => NONE.to_string(),
        };
        cells::row(vec![
            cells::name(object),
            cells::age(object, now),
            cells::or(text(spec, "signerName"), NONE).into(),
            text(spec, "username").into(),
            duration.into(),
            outcome(object).into(),
        ])
    }
}

fn validate_request(errors: &mut Vec<FieldError>, request: &str) {
    let pem =
        STANDARD.decode(request).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    if !pem.contains("-----BEGIN CERTIFICATE REQUEST-----")
        && !pem.contains("-----BEGIN NEW CERTIFICATE REQUEST-----")
    {
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(FieldError::invalid("spec.request", request, detail));
    }
}

fn validate_usages(errors: &mut Vec<FieldError>, usages: &[&str]) {
    if usages.is_empty() {
        errors.push(FieldError::required("spec.usages", ""));
    }
    for (index, usage) in usages.iter().enumerate() {
        let path = format!("spec.usages[{index}]");
        if !USAGES.contains(usage) {
            errors.push(FieldError::not_supported(path.as_str(), *usage, USAGES));
        }
        if usages.iter().take(index).any(|earlier| earlier == usage) {
            errors.push(FieldError::duplicate(path, *usage));
        }
    }
}

/// `<domain>/<path>`. Kubernetes: `core/validation.ValidateSignerName`.
fn validate_signer(errors: &mut Vec<FieldError>, signer: &str) {
    const PATH: &str = "spec.signerName";
    if signer.is_empty() {
        return errors.push(FieldError::required(PATH, ""));
    }
    let Some((domain, path)) = signer.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(FieldError::invalid(PATH, signer, detail));
    };
    for text in name::dns1123_subdomain(domain).err().unwrap_or_default() {
        errors.push(FieldError::invalid(PATH, domain, format!("validating label {domain:?}: {text}")));
    }
    if !domain.contains('.') {
        errors.push(FieldError::invalid(
            PATH,
            domain,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    for text in name::dns1123_subdomain(path).err().unwrap_or_default() {
        errors.push(FieldError::invalid(PATH, path, format!("validating label {path:?}: {text}")));
    }
}

fn validate_conditions(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let conditions = items(&object["status"], "conditions");
    for (index, condition) in conditions.iter().enumerate() {
        let path = format!("status.conditions[{index}]");
        let kind = text(condition, "type");
        if kind.is_empty() {
            errors.push(FieldError::required(format!("{path}.type"), ""));
        }
        if matches!(kind, "Approved" | "Denied" | "Failed") && text(condition, "status") != "True" {
            let status = text(condition, "status");
            errors.push(FieldError::not_supported(format!("{path}.status"), status, &["True"]));
        }
        if conditions.iter().take(index).any(|earlier| text(earlier, "type") == kind) {
            errors.push(FieldError::duplicate(format!("{path}.type"), kind));
        }
    }
    if has(object, "Approved") && has(object, "Denied") {
        let detail = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid("status.conditions", "Denied", detail));
    }
    errors
}

fn has(object: &Value, kind: &str) -> bool {
    items(&object["status"], "conditions").iter().any(|condition| text(condition, "type") == kind)
}

fn outcome(object: &Value) -> String {
    let decided = match (has(object, "Denied"), has(object, "Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    };
    let mut words = vec![decided];
    if has(object, "Failed") {
        words.push("Failed");
    }
    if !text(&object["status"], "certificate").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request() -> Value {
        let pem = "-----BEGIN CERTIFICATE REQUEST-----\nMII=\n-----END CERTIFICATE REQUEST-----\n";
        json!({"metadata": {"name": "csr"}, "spec": {"request": STANDARD.encode(pem), "usages": ["client auth"],
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet", "username": "u", "expirationSeconds": 86400}})
    }

    #[test]
    fn a_request_names_its_signer_usages_and_content() {
        let check = |field: &str, value: Value, expected: &[&str]| {
            let mut object = request();
            object["spec"][field] = value;
            let errors = Requests.validate_create(&object);
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected, "{field}");
        };
        check("username", json!("other"), &[]);
        check("request", json!(""), &["spec.request"]);
        check("usages", json!([]), &["spec.usages"]);
        check("usages", json!(["dancing"]), &["spec.usages[0]"]);
        check("usages", json!(["any", "any"]), &["spec.usages[1]"]);
        check("signerName", json!(""), &["spec.signerName"]);
        check("signerName", json!("signer"), &["spec.signerName"]);
        check("expirationSeconds", json!(599), &["spec.expirationSeconds"]);
    }

    #[test]
    fn a_decision_is_never_taken_back() {
        let with = |status: Value| {
            let mut object = request();
            object["status"] = status;
            object
        };
        let approved =
            with(json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "QQ=="}));
        assert_eq!(Requests.validate_status(&approved, &with(json!({}))), []);
        let fields = |errors: Vec<FieldError>| errors.into_iter().map(|e| e.field).collect::<Vec<_>>();
        let gone = fields(Requests.validate_status(&with(json!({"certificate": "Qg=="})), &approved));
        assert_eq!(gone, ["status.conditions", "status.certificate"]);
        let both = with(
            json!({"conditions": [{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]}),
        );
        assert_eq!(fields(Requests.validate_status(&both, &with(json!({})))), ["status.conditions"]);
    }

    #[test]
    fn a_row_shows_what_has_become_of_it() {
        let mut object = request();
        let cells = |object: &Value| Value::Array(Requests.row(object, Timestamp::UNIX_EPOCH).cells);
        let signer = "kubernetes.io/kube-apiserver-client-kubelet";
        assert_eq!(cells(&object), json!(["csr", "<unknown>", signer, "u", "24h", "Pending"]));
        object["status"] =
            json!({"conditions": [{"type": "Approved", "status": "True"}], "certificate": "QQ=="});
        assert_eq!(cells(&object)[5], "Approved,Issued");
    }

    #[test]
    fn the_spec_is_frozen() {
        let mut new = request();
        new["spec"]["username"] = json!("thief");
        new["status"] = json!({"certificate": "QQ=="});
        Requests.prepare_update(&mut new, &request());
        assert_eq!(new, request());
    }
}
