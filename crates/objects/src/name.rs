//! May it be called so? Kubernetes' rules for names, labels and finalizers, with Kubernetes' own words.
//!
//! Each check answers with every text that upstream would answer, in its order; the API server puts the field in front
//! (wire 2.1.10). [`generate`] makes the end of a generated name (2.1.9), [`safe_encode`] a hash that spells no word
//! (RV-5). Chance comes in as a function, so that callers can repeat themselves.
//!
//! Kubernetes: `apimachinery/pkg/util/validation/validation.go`, `pkg/api/validation/path`, `util/rand`,
//! `apiserver/pkg/storage/names`.

/// Longest DNS label, and longest label value or name part of a key.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;
/// Longest container port name.
pub const PORT_NAME_MAX: usize = 15;
/// What remains of a `generateName` beside its suffix: a generated name fits a DNS label.
pub const GENERATED_BASE_MAX: usize = LABEL_MAX - SUFFIX_LENGTH;
/// Letters in a generated suffix.
const SUFFIX_LENGTH: usize = 5;
/// Without vowels and their look-alikes, so that no word appears by chance.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

const LABEL_FORM: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_1035_FORM: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const KEY_FORM: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const STANDARD_FINALIZERS: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];

/// Every broken rule of a name, as upstream words it.
pub type Broken = Vec<String>;

/// A DNS-1123 label: namespaces, containers, volumes.
pub fn dns1123_label(value: &str) -> Result<(), Broken> {
    let mut broken = too_long(value, LABEL_MAX);
    if !is_dns_label(value) {
        broken.push(match is_subdomain(value) {
            true => "must not contain dots".to_string(),
            false => form_error(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character",
                LABEL_FORM,
                &["my-name", "123-abc"],
            ),
        });
    }
    outcome(broken)
}

/// A DNS-1123 subdomain: the name of most objects.
pub fn dns1123_subdomain(value: &str) -> Result<(), Broken> {
    let mut broken = too_long(value, SUBDOMAIN_MAX);
    if !is_subdomain(value) {
        broken.push(form_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character",
            &format!("{LABEL_FORM}(\\.{LABEL_FORM})*"),
            &["example.com"],
        ));
    }
    outcome(broken)
}

/// A DNS-1035 label: services.
pub fn dns1035_label(value: &str) -> Result<(), Broken> {
    let mut broken = too_long(value, LABEL_MAX);
    if !(is_dns_label(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        broken.push(form_error(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            LABEL_1035_FORM,
            &["my-name", "abc-123"],
        ));
    }
    outcome(broken)
}

/// A key of labels, annotations, taints: `name` or `prefix/name`.
pub fn qualified_name(value: &str) -> Result<(), Broken> {
    let mut broken = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>().as_slice() {
        [name] => *name,
        [prefix, name] => {
            broken.extend(prefix_errors(prefix));
            *name
        }
        _ => {
            let form = key_form_error();
            return Err(vec![format!(
                "a qualified name {form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )]);
        }
    };
    if name.is_empty() {
        broken.push("name part must be non-empty".to_string());
    }
    broken.extend(too_long(name, LABEL_MAX).into_iter().map(|text| format!("name part {text}")));
    if !is_key_part(name) {
        broken.push(format!("name part {}", key_form_error()));
    }
    outcome(broken)
}

/// The value of a label.
pub fn label_value(value: &str) -> Result<(), Broken> {
    let mut broken = too_long(value, LABEL_MAX);
    if !value.is_empty() && !is_key_part(value) {
        broken.push(form_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            &format!("({KEY_FORM})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    outcome(broken)
}

/// A finalizer: a qualified name, with a prefix unless it is one of Kubernetes' own.
pub fn finalizer(value: &str) -> Result<(), Broken> {
    let mut broken = qualified_name(value).err().unwrap_or_default();
    if !value.contains('/') && !STANDARD_FINALIZERS.contains(&value) {
        broken.push("name is neither a standard finalizer name nor is it fully qualified".to_string());
    }
    outcome(broken)
}

/// The name of a container port.
pub fn port_name(value: &str) -> Result<(), Broken> {
    let mut broken = too_long(value, PORT_NAME_MAX);
    if value.is_empty() || !value.bytes().all(is_dns_byte) {
        broken.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_string());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        broken.push("must contain at least one letter (a-z)".to_string());
    }
    if value.contains("--") {
        broken.push("must not contain consecutive hyphens".to_string());
    }
    if value.starts_with('-') || value.ends_with('-') {
        broken.push("must not begin or end with a hyphen".to_string());
    }
    outcome(broken)
}

/// The name of an environment variable, by the relaxed rule that is the default since 1.32.
pub fn env_var_name(value: &str) -> Result<(), Broken> {
    let mut broken = Vec::new();
    if value.is_empty() {
        broken.push("environment variable name must be non-empty".to_string());
    }
    if !value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        broken.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_string(),
        );
    }
    outcome(broken)
}

/// A key of a ConfigMap or Secret: it becomes a file name.
pub fn config_map_key(value: &str) -> Result<(), Broken> {
    let mut broken = too_long(value, SUBDOMAIN_MAX);
    if value.is_empty() || !value.bytes().all(is_key_byte) {
        broken.push(form_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => broken.push("must not be '.'".to_string()),
        ".." => broken.push("must not be '..'".to_string()),
        _ if value.starts_with("..") => broken.push("must not start with '..'".to_string()),
        _ => {}
    }
    outcome(broken)
}

/// A name that may stand in a URL path: RBAC objects.
pub fn path_segment(value: &str) -> Result<(), Broken> {
    if matches!(value, "." | "..") {
        return Err(vec![format!("may not be '{value}'")]);
    }
    let found = ["/", "%"].into_iter().filter(|part| value.contains(part));
    outcome(found.map(|part| format!("may not contain '{part}'")).collect())
}

/// A name from a `generateName`: at most 58 bytes of it and five letters (2.1.9). `chance` is asked once a letter.
pub fn generate(base: &str, chance: &mut impl FnMut() -> u32) -> String {
    let mut end = base.len().min(GENERATED_BASE_MAX);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let (base, _) = base.split_at(end);
    let letters = (0..SUFFIX_LENGTH).map(|_| letter(chance()));
    base.chars().chain(letters).collect()
}

/// A number as a label value that spells no word: its decimal digits, each replaced by a harmless letter (RV-5).
pub fn safe_encode(number: u32) -> String {
    number.to_string().bytes().map(|digit| letter(u32::from(digit))).collect()
}

fn letter(number: u32) -> char {
    // 27 fits any usize, and the remainder is a valid index.
    char::from(ALPHABET[(number % 27) as usize])
}

fn outcome(broken: Broken) -> Result<(), Broken> {
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

fn too_long(value: &str, max: usize) -> Broken {
    let broken = (value.len() > max).then(|| format!("must be no more than {max} characters"));
    broken.into_iter().collect()
}

fn form_error(rule: &str, form: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{form}')", examples.join(" or "))
}

fn key_form_error() -> String {
    form_error(
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        KEY_FORM,
        &["MyName", "my.name", "123-abc"],
    )
}

fn prefix_errors(prefix: &str) -> Broken {
    if prefix.is_empty() {
        return vec!["prefix part must be non-empty".to_string()];
    }
    let broken = dns1123_subdomain(prefix).err().unwrap_or_default();
    broken.into_iter().map(|text| format!("prefix part {text}")).collect()
}

fn is_dns_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

fn is_dns_label(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(is_dns_byte) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_dns_label)
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_key_part(value: &str) -> bool {
    let outer = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric());
    value.bytes().all(is_key_byte) && outer(value.bytes().next()) && outer(value.bytes().last())
}

#[cfg(test)]
mod tests;
