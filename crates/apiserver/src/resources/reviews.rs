//! Reviews: questions asked by POST whose answer is the response. Nothing is stored.
//!
//! The rules of answering them stand with authentication and authorization; here is only what discovery says.
//! Kubernetes: `registry/authentication`, `registry/authorization`.

use super::{Kind, ORDINARY};

const CREATE: &[&str] = &["create"];
const AUTHENTICATION: Kind =
    Kind { group: "authentication.k8s.io", namespaced: false, verbs: CREATE, ..ORDINARY };
const AUTHORIZATION: Kind =
    Kind { group: "authorization.k8s.io", namespaced: false, verbs: CREATE, ..ORDINARY };

/// Who am I?
pub const SELF_SUBJECT_REVIEWS: Kind = Kind {
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    singular: "selfsubjectreview",
    ..AUTHENTICATION
};
/// Whose token is this?
pub const TOKEN_REVIEWS: Kind =
    Kind { kind: "TokenReview", plural: "tokenreviews", singular: "tokenreview", ..AUTHENTICATION };
/// May somebody do that in this namespace?
pub const LOCAL_SUBJECT_ACCESS_REVIEWS: Kind = Kind {
    kind: "LocalSubjectAccessReview",
    plural: "localsubjectaccessreviews",
    singular: "localsubjectaccessreview",
    namespaced: true,
    ..AUTHORIZATION
};
/// May I do that?
pub const SELF_SUBJECT_ACCESS_REVIEWS: Kind = Kind {
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    singular: "selfsubjectaccessreview",
    ..AUTHORIZATION
};
/// What may I do in this namespace?
pub const SELF_SUBJECT_RULES_REVIEWS: Kind = Kind {
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    singular: "selfsubjectrulesreview",
    ..AUTHORIZATION
};
/// May somebody do that?
pub const SUBJECT_ACCESS_REVIEWS: Kind = Kind {
    kind: "SubjectAccessReview",
    plural: "subjectaccessreviews",
    singular: "subjectaccessreview",
    ..AUTHORIZATION
};
