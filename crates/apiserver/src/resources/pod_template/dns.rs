//! How does a pod find names? DNS policy and configuration, and additions to its hosts file (AP-45).
//!
//! Kubernetes: `core/validation.validateDNSPolicy`, `validatePodDNSConfig`, `ValidateHostAliases`.

use crate::error::FieldError;
use crate::resources::fields::{check_one_of, check_subdomain, is_set, items, text, texts};
use objects::name;
use serde_json::Value;
use std::net::IpAddr;

const POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
/// What libc's resolver takes.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// `dnsPolicy`.
pub fn validate_policy(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    check_one_of(errors, &format!("{path}.dnsPolicy"), &spec["dnsPolicy"], POLICIES);
}

/// `dnsConfig`.
pub fn validate_config(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    let path = format!("{path}.dnsConfig");
    let config = &spec["dnsConfig"];
    let servers = texts(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if !is_set(spec, "dnsConfig") {
            return errors
                .push(FieldError::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(FieldError::required(format!("{path}.nameservers"), detail));
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(FieldError::invalid(
            format!("{path}.nameservers"),
            config["nameservers"].clone(),
            detail,
        ));
    }
    for (index, server) in servers.into_iter().enumerate() {
        check_ip(errors, server, &format!("{path}.nameservers[{index}]"));
    }
    validate_searches(errors, config, &path);
    for (index, option) in items(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.push(FieldError::required(format!("{path}.options[{index}]"), "must not be empty"));
        }
    }
}

fn validate_searches(errors: &mut Vec<FieldError>, config: &Value, path: &str) {
    let field = format!("{path}.searches");
    let searches = texts(config, "searches");
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        errors.push(FieldError::invalid(field.as_str(), config["searches"].clone(), detail));
    }
    if searches.join(" ").len() > SEARCH_BYTES_MAX {
        let detail = format!(
            "must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list"
        );
        errors.push(FieldError::invalid(field.as_str(), config["searches"].clone(), detail));
    }
    for (index, search) in searches.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        // The relaxed rule of 1.33: an underscore counts as a letter.
        for text in name::dns1123_subdomain(&search.replace('_', "u")).err().unwrap_or_default() {
            errors.push(FieldError::invalid(format!("{field}[{index}]"), search, text));
        }
    }
}

/// `hostAliases`.
pub fn validate_host_aliases(errors: &mut Vec<FieldError>, spec: &Value, path: &str) {
    for (index, alias) in items(spec, "hostAliases").iter().enumerate() {
        let path = format!("{path}.hostAliases[{index}]");
        check_ip(errors, text(alias, "ip"), &format!("{path}.ip"));
        for (number, host) in texts(alias, "hostnames").into_iter().enumerate() {
            check_subdomain(errors, &format!("{path}.hostnames[{number}]"), host);
        }
    }
}

/// An address of either family.
pub fn check_ip(errors: &mut Vec<FieldError>, address: &str, path: &str) {
    if address.parse::<IpAddr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(path, address, detail));
    }
}
