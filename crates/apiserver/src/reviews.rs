//! Questions about rights and identities, asked by POST and answered at once (wire 7.3.4, 7.1.5).
//!
//! All answers come from [`authz::decide`], the function that also guards requests, so that a review never says other than what
//! happens. Answers are 201, even where the answer is no.

use crate::authn::{MASTERS, User};
use crate::authz::{self, Action, Decision, ResourceAction};
use crate::bearer;
use crate::decode::{self, FieldValidation};
use crate::error::{ApiError, FieldError};
use crate::rbac::Rule;
use crate::reply::{self, Reply};
use crate::resources::Kind;
use crate::rights;
use crate::service_accounts::check::NoUser;
use crate::service_accounts::claims::Refusal;
use crate::verbs::{Call, create};
use bytes::Bytes;
use serde_json::{Value, json};

/// Whether a kind is a question and not an object.
pub fn is_review(kind: &Kind) -> bool {
    matches!(kind.group, "authentication.k8s.io" | "authorization.k8s.io") && kind.kind.ends_with("Review")
}

/// Answers a review.
pub async fn answer(call: &Call<'_>, body: &Bytes) -> Result<Reply, ApiError> {
    let decoded = decode::body(call.header("content-type"), body, call.kind, FieldValidation::Warn)?;
    let mut review = decoded.object;
    review["status"] = match call.kind.kind {
        "SelfSubjectReview" => {
            let now = create::seconds(call.server.now());
            crate::verbs::metadata::set(&mut review, "creationTimestamp", now.into());
            json!({ "userInfo": user_info(call.user) })
        }
        "TokenReview" => token(call, &review["spec"]).await?,
        "SelfSubjectRulesReview" => rules(call, &review["spec"])?,
        "SelfSubjectAccessReview" => access(call, call.user, &review)?,
        "LocalSubjectAccessReview" => {
            let namespace = review["spec"]["resourceAttributes"]["namespace"].as_str().unwrap_or_default();
            if namespace != call.target.namespace {
                let path = "spec.resourceAttributes.namespace";
                let text = "must match metadata.namespace";
                return Err(broken(call, vec![FieldError::invalid(path, namespace, text)]));
            }
            access(call, &subject(call, &review["spec"])?, &review)?
        }
        _ => access(call, &subject(call, &review["spec"])?, &review)?,
    };
    let answer = reply::object(201, call.kind, &review, call.form()?);
    Ok(reply::with_warnings(answer, &decoded.warnings))
}

/// The user that a SubjectAccessReview asks about.
fn subject(call: &Call<'_>, spec: &Value) -> Result<User, ApiError> {
    let groups: Vec<String> = strings(&spec["groups"]).map(str::to_string).collect();
    let name = spec["user"].as_str().unwrap_or_default().to_string();
    if name.is_empty() && groups.is_empty() {
        let text = "at least one of user or group must be specified";
        return Err(broken(call, vec![FieldError::invalid("spec.user", "", text)]));
    }
    Ok(User { name, groups, ..User::default() })
}

fn access(call: &Call<'_>, user: &User, review: &Value) -> Result<Value, ApiError> {
    let (resource, path) = (&review["spec"]["resourceAttributes"], &review["spec"]["nonResourceAttributes"]);
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_string();
    let (verb, group, plural) = (text(resource, "verb"), text(resource, "group"), text(resource, "resource"));
    let (subresource, namespace, name) =
        (text(resource, "subresource"), text(resource, "namespace"), text(resource, "name"));
    let of_node = selected_node(&resource["fieldSelector"]);
    let (path_verb, path_text) = (text(path, "verb"), text(path, "path"));
    let action = match (resource.is_object(), path.is_object()) {
        (true, false) => Action::Resource(ResourceAction {
            verb: &verb,
            group: &group,
            resource: &plural,
            subresource: &subresource,
            namespace: &namespace,
            name: &name,
            of_node: &of_node,
        }),
        (false, true) => Action::Path { verb: &path_verb, path: &path_text },
        (both, _) => {
            let text = match both {
                true => "cannot be specified in combination with resourceAttributes",
                false => "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            };
            return Err(broken(
                call,
                vec![FieldError::invalid("spec.nonResourceAttributes", Value::Null, text)],
            ));
        }
    };
    Ok(match authz::decide(user, action, call.server) {
        Decision::Allowed(reason) => json!({"allowed": true, "reason": reason}),
        Decision::Denied(reason) if reason.is_empty() => json!({"allowed": false}),
        Decision::Denied(reason) => json!({"allowed": false, "reason": reason}),
    })
}

/// The node that the asked list or watch would select by (7.5.2).
fn selected_node(selector: &Value) -> String {
    let requirements = selector["requirements"].as_array().into_iter().flatten();
    let exact = |requirement: &&Value| {
        requirement["key"] == "spec.nodeName"
            && requirement["operator"] == "In"
            && requirement["values"].as_array().is_some_and(|values| values.len() == 1)
    };
    let found = requirements.into_iter().find(exact);
    found.and_then(|requirement| requirement["values"][0].as_str()).unwrap_or_default().to_string()
}

fn broken(call: &Call<'_>, errors: Vec<FieldError>) -> ApiError {
    ApiError::invalid(call.kind.group, call.kind.kind, "", &errors)
}

/// What a user may do, as rules. Nodes may do more than rules can say.
fn rules(call: &Call<'_>, spec: &Value) -> Result<Value, ApiError> {
    let namespace = spec["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let user = call.user;
    let mut rules = call.server.rights().of(user, namespace);
    if user.is_in(MASTERS) {
        rules.extend(rights::everything());
    }
    let (paths, resources): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|rule| !rule.paths.is_empty());
    let json = |rules: &[Rule]| -> Value { rules.iter().map(Rule::to_json).collect() };
    Ok(json!({"incomplete": user.node().is_some(), "resourceRules": json(&resources),
        "nonResourceRules": json(&paths)}))
}

/// An unknown token is an answer, not an error (7.1.5). Of the reviewed audiences at least one must be the token's.
async fn token(call: &Call<'_>, spec: &Value) -> Result<Value, ApiError> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let mut audiences: Vec<String> = strings(&spec["audiences"]).map(str::to_string).collect();
    if audiences.is_empty() {
        audiences = bearer::audiences(call.server);
    }
    match bearer::user(call.server, token, &audiences).await {
        Ok(known) => {
            let user = user_info(&known.user);
            Ok(json!({"authenticated": true, "user": user, "audiences": known.audiences}))
        }
        Err(NoUser::Failed(error)) => Err(error),
        Err(NoUser::Refused(why)) => Ok(json!({"user": {}, "error": refusal(&why)})),
    }
}

/// The first words are those of every authenticator that does not know the token.
fn refusal(why: &Refusal) -> String {
    match why {
        Refusal::Unknown => why.to_string(),
        why => format!("[{}, {why}]", Refusal::Unknown),
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
