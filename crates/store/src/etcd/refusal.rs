//! PURE. What a failed call to etcd means in the store's words.

use super::members::Failure;
use crate::Error;
use tonic::{Code, Status};

/// etcd's own limit of one request unless its operator raised it (`--max-request-bytes`).
const REQUEST_LIMIT: usize = 1_572_864;

/// The error of a call about a key with a value of `size` bytes.
pub(super) fn error(place: &str, key: &str, size: usize, failure: Failure) -> Error {
    let named = |what: &str| format!("{place}: {what}").into();
    match failure {
        Failure::Unavailable(reason) => Error::Unavailable { reason: reason.into() },
        Failure::Unknown(reason) => Error::Unknown { reason: reason.into() },
        Failure::Refused(status) if is_too_large(&status) => {
            Error::TooLarge { key: key.chars().take(80).collect(), size, limit: REQUEST_LIMIT }
        }
        Failure::Refused(status) if status.message().contains("database space exceeded") => {
            Error::Exhausted {
                reason: named(
                    "its space is used up; nothing was written: compact and defragment etcd, or raise \
                 --quota-backend-bytes, then `etcdctl alarm disarm`",
                ),
            }
        }
        // Only reads at a revision get this; the caller begins anew.
        Failure::Refused(status) if is_compacted(&status) => Error::Compacted { oldest: 0 },
        Failure::Refused(status) => Error::Unavailable { reason: named(status.message()) },
    }
}

/// The revision that was asked for is forgotten.
pub(super) fn is_compacted(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("has been compacted")
}

/// The revision that was asked for does not exist yet.
pub(super) fn is_future(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("future revision")
}

/// The second text is gRPC's, above etcd's limit and what it adds.
fn is_too_large(status: &Status) -> bool {
    let texts = ["request is too large", "received message larger than max"];
    texts.iter().any(|text| status.message().contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_and_a_lost_answer_is_no_refusal() {
        let of = |status: Status| error("https://e:2379", "/k", 2_000_000, Failure::Refused(status));
        let too_large = Error::TooLarge { key: "/k".into(), size: 2_000_000, limit: REQUEST_LIMIT };
        assert_eq!(of(Status::invalid_argument("etcdserver: request is too large")), too_large);
        let grpc = "grpc: received message larger than max (2097512 vs. 2097152)";
        assert_eq!(of(Status::resource_exhausted(grpc)), too_large);
        let full = of(Status::resource_exhausted("etcdserver: mvcc: database space exceeded"));
        assert!(matches!(&full, Error::Exhausted { reason } if reason.contains("alarm disarm")), "{full}");
        let denied = of(Status::permission_denied("etcdserver: permission denied"));
        assert!(matches!(&denied, Error::Unavailable { reason } if reason.contains("https://e:2379: etcd")));
        let lost = error("e", "/k", 1, Failure::Unknown("https://e:2379: broken pipe".into()));
        assert_eq!(lost, Error::Unknown { reason: "https://e:2379: broken pipe".into() });
    }
}
