//! PURE. Stands in for the parts of the `objects` crate that are being written; this file goes when they are there.
//!
//! Node affinity terms beyond the node selector are not looked at here.

use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};
use std::collections::BTreeMap;

pub const VERSION: &str = "v1.33.0+everynode.0.1.0";

/// A quantity in thousandths.
#[derive(Clone, Copy)]
pub struct Amount(i128);

impl Amount {
    pub fn parse(text: &str) -> Result<Self, ()> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let kibi = 1024_i128;
        let thousandths: i128 = match suffix {
            "m" => 1,
            "" => 1000,
            "k" => 1_000_000,
            "M" => 1_000_000_000,
            "G" => 1_000_000_000_000,
            "Ki" => kibi * 1000,
            "Mi" => kibi.pow(2) * 1000,
            "Gi" => kibi.pow(3) * 1000,
            "Ti" => kibi.pow(4) * 1000,
            _ => return Err(()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let mut amount = whole.parse::<i128>().map_err(|_| ())?.checked_mul(thousandths).ok_or(())?;
        let mut unit = thousandths;
        for digit in fraction.chars() {
            unit /= 10;
            amount += i128::from(digit.to_digit(10).ok_or(())?) * unit;
        }
        Ok(Self(amount))
    }

    pub fn milli(&self) -> i128 {
        self.0
    }

    pub fn value(&self) -> i128 {
        (self.0 + 999).div_euclid(1000)
    }
}

pub fn requests(spec: &PodSpec) -> BTreeMap<String, Amount> {
    let mut sum = BTreeMap::<String, Amount>::new();
    for container in &spec.containers {
        let asked = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        for (name, quantity) in asked.into_iter().flatten() {
            if let Ok(amount) = Amount::parse(&quantity.0) {
                sum.entry(name.clone()).or_insert(Amount(0)).0 += amount.0;
            }
        }
    }
    sum
}

pub fn host_ports(spec: &PodSpec) -> Vec<(String, i32)> {
    let ports = spec.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".into());
    ports
        .filter_map(|port| Some((protocol(&port.protocol), port.host_port.filter(|number| *number > 0)?)))
        .collect()
}

pub fn required_matches(spec: &PodSpec, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let has = |(key, value): (&String, &String)| labels.and_then(|labels| labels.get(key)) == Some(value);
    spec.node_selector.iter().flatten().all(has)
}

pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    let mut no_execute = taints.iter().filter(|taint| taint.effect == "NoExecute");
    no_execute.find(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let effect = set(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = set(&toleration.key).is_none_or(|key| key == taint.key);
    let exists = toleration.operator.as_deref() == Some("Exists");
    effect && key && (exists || set(&toleration.value) == set(&taint.value))
}
