//! What a token says, and what is refused of it without asking the store.

use super::claims::{Bound, Claims, Named, Refusal, Wish};
use super::{Issuer, Keys, keys::ALGORITHM, legacy, signed};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

const NOW: i64 = 1_790_000_000;

fn issuer() -> Issuer {
    Issuer::new("https://issuer", Keys::new(&KeyPair::generate().unwrap().serialize_pem(), []).unwrap())
}

fn named(name: &str) -> Named {
    Named { name: name.into(), uid: format!("uid-{name}") }
}

fn wish(pod: bool, audience: &str, seconds: i64) -> Wish {
    let of_pod = |name| pod.then(|| named(name));
    let bound = Bound {
        namespace: "a".into(),
        node: of_pod("n1"),
        pod: of_pod("p"),
        secret: None,
        serviceaccount: named("sa"),
        warnafter: None,
    };
    Wish { bound, audiences: vec![audience.into()], seconds, id: "id".into() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_token_says_what_kubernetes_1_33_writes() {
    let issuer = issuer();
    let check = |wish: Wish, expected: Value| {
        let token =
            signed::sign(&issuer.keys, &serde_json::to_value(Claims::new(&issuer, wish, at(NOW))).unwrap());
        let token = token.unwrap();
        let part = |number: usize| -> Value {
            let text = token.split('.').nth(number).unwrap();
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(part(0), json!({"alg": "ES256", "kid": issuer.keys.id()}));
        assert_eq!(part(1), expected);
    };
    check(
        wish(false, "vault", 600),
        json!({"aud": ["vault"], "exp": NOW + 600, "iat": NOW, "iss": "https://issuer", "jti": "id", "nbf": NOW,
            "kubernetes.io": {"namespace": "a", "serviceaccount": {"name": "sa", "uid": "uid-sa"}},
            "sub": "system:serviceaccount:a:sa"}),
    );
    // 7.4.3: what admission asks for lives a year and says when it should have been read again.
    check(
        wish(true, "https://issuer", 3607),
        json!({"aud": ["https://issuer"], "exp": NOW + 31_536_000, "iat": NOW, "iss": "https://issuer", "jti": "id",
            "nbf": NOW, "kubernetes.io": {"namespace": "a", "node": {"name": "n1", "uid": "uid-n1"},
            "pod": {"name": "p", "uid": "uid-p"}, "serviceaccount": {"name": "sa", "uid": "uid-sa"},
            "warnafter": NOW + 3607}, "sub": "system:serviceaccount:a:sa"}),
    );
    let for_others = Claims::new(&issuer, wish(true, "vault", 3607), at(NOW));
    assert_eq!((for_others.exp, for_others.kubernetes.warnafter), (NOW + 3607, None));
}

#[test]
fn a_token_is_for_whom_and_when_it_says() {
    let issuer = issuer();
    let claims = Claims::new(&issuer, wish(false, "https://issuer", 600), at(NOW));
    let check = |second: i64, audience: &str, expected: Result<&[&str], &str>| {
        let found = claims.answer(&[audience.to_string(), "x".to_string()], at(second));
        let expected = expected.map(|list| list.iter().map(ToString::to_string).collect());
        assert_eq!(found.map_err(|why| why.to_string()), expected.map_err(str::to_string));
    };
    check(NOW, "https://issuer", Ok(&["https://issuer"]));
    check(NOW + 660, "https://issuer", Ok(&["https://issuer"]));
    check(NOW + 661, "https://issuer", Err("service account token has expired"));
    check(NOW - 61, "https://issuer", Err("service account token is not valid yet"));
    let other = r#"token audiences ["https://issuer"] is invalid for the target audiences ["vault" "x"]"#;
    check(NOW, "vault", Err(other));
}

#[test]
fn nothing_but_our_signature_counts() {
    let issuer = issuer();
    let claims = serde_json::to_value(Claims::new(&issuer, wish(true, "a", 600), at(NOW))).unwrap();
    let token = signed::sign(&issuer.keys, &claims).unwrap();
    assert_eq!(signed::open(&issuer.keys, &token), Some(claims.clone()));
    let parts: Vec<&str> = token.split('.').collect();
    let [header, body, signature] = parts[..] else { panic!("{token}") };
    let text = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut richer = claims.clone();
    richer["sub"] = "system:serviceaccount:kube-system:admin".into();
    let flipped: String = signature.chars().rev().collect();
    let other = Keys::new(&KeyPair::generate().unwrap().serialize_pem(), []).unwrap();
    for (case, forged) in [
        ("other claims", format!("{header}.{}.{signature}", text(richer))),
        ("alg none", format!("{}.{body}.", text(json!({"alg": "none"})))),
        ("alg none, signed", format!("{}.{body}.{signature}", text(json!({"alg": "none"})))),
        ("HMAC", format!("{}.{body}.{signature}", text(json!({"alg": "HS256", "kid": issuer.keys.id()})))),
        ("unknown key", format!("{}.{body}.{signature}", text(json!({"alg": ALGORITHM, "kid": "x"})))),
        ("critical", format!("{}.{body}.{signature}", text(json!({"alg": ALGORITHM, "crit": ["x"]})))),
        ("no signature", format!("{header}.{body}.")),
        ("other signature", format!("{header}.{body}.{flipped}")),
        ("other signer", signed::sign(&other, &claims).unwrap()),
        ("two parts", format!("{header}.{body}")),
        ("four parts", format!("{token}.x")),
        ("padding", format!("{token}=")),
        ("empty", "..".to_string()),
        ("nothing", String::new()),
        ("huge", format!("{header}.{}.{signature}", "A".repeat(1 << 20))),
    ] {
        assert_eq!(signed::open(&issuer.keys, &forged), None, "{case}");
    }
}

#[test]
fn signed_claims_must_be_of_this_issuer_and_agree_with_themselves() {
    let issuer = issuer();
    let whole = serde_json::to_value(Claims::new(&issuer, wish(true, "a", 600), at(NOW))).unwrap();
    let check = |change: &dyn Fn(&mut Value), expected: bool| {
        let mut claims = whole.clone();
        change(&mut claims);
        assert_eq!(Claims::read(&issuer, claims.clone()).is_ok(), expected, "{claims}");
    };
    check(&|_| {}, true);
    check(&|claims| claims["iss"] = "https://other".into(), false);
    check(&|claims| claims["sub"] = "system:serviceaccount:a:other".into(), false);
    check(&|claims| claims["kubernetes.io"]["namespace"] = "b".into(), false);
    check(&|claims| claims["exp"] = "soon".into(), false);
    check(&|claims| *claims = json!({}), false);
    assert_eq!(Claims::read(&issuer, json!([])), Err(Refusal::Unknown));
    assert_eq!(legacy::Claims::read(&whole), None);
}

#[test]
fn an_older_key_is_believed_and_shown() {
    let (old, new) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let before = Keys::new(&old.serialize_pem(), []).unwrap();
    let after = Keys::new(&new.serialize_pem(), [old.public_key_pem().as_str()]).unwrap();
    let token = signed::sign(&before, &json!({"a": 1})).unwrap();
    assert_eq!(signed::open(&after, &token), Some(json!({"a": 1})));
    let set = after.set();
    let point = old.der_bytes();
    assert_eq!(
        set["keys"][1],
        json!({"use": "sig", "kty": "EC", "kid": before.id(), "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..])})
    );
    assert_eq!(set["keys"].as_array().unwrap().len(), 2);
    assert!(Keys::new("x", []).unwrap_err().to_string().contains("PKCS #8"));
    let other_curve = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().public_key_pem();
    assert!(Keys::new(&new.serialize_pem(), [other_curve.as_str()]).is_err());
}
