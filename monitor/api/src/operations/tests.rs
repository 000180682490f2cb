use super::*;
use crate::{ErrorKind, HealDeed, HealSubject};
use percent_encoding::percent_decode_str;
use proptest::option;
use proptest::prelude::*;

fn heal(target: String, subject: HealSubject, deed: HealDeed, number: u64, dry_run: bool) -> Query {
    Query::Heal { target, subject, deed, grace_ns: number, dry_run, most_victims: number }
}

fn any_query() -> impl Strategy<Value = Query> {
    let name = || "[ -~é/?&#%+]{1,12}";
    let subject = prop_oneof![
        any::<u32>().prop_map(HealSubject::Process),
        name().prop_map(HealSubject::User),
        (name(), name()).prop_map(|(application, hook)| HealSubject::Hook { application, hook }),
    ];
    let deed = prop_oneof![Just(HealDeed::Kill), any::<u64>().prop_map(HealDeed::Hand)];
    let choices = any::<[bool; 3]>();
    prop_oneof![
        Just(Query::Targets {}),
        Just(Query::Reload {}),
        name().prop_map(|target| Query::Sensors { target }),
        option::of(name()).prop_map(|target| Query::Verdicts { target }),
        (name(), option::of(0_usize..9)).prop_map(|(target, last)| Query::Audit { target, last }),
        (name(), subject, deed, any::<u64>(), any::<bool>()).prop_map(
            |(target, subject, deed, number, dry_run)| heal(target, subject, deed, number, dry_run)
        ),
        (name(), choices).prop_map(|(target, [dry_run, without_fence, after_another])| {
            Query::Recover { target, dry_run, without_fence, after_another }
        }),
        (name(), any::<u64>(), any::<bool>()).prop_map(|(target, id, dry_run)| Query::Approve {
            target,
            id,
            dry_run
        }),
        (option::of(name()), any::<u32>(), any::<bool>()).prop_map(|(target, lines, audit)| Query::Follow {
            target,
            lines: lines as usize,
            audit
        }),
    ]
}

/// What a server makes of it that knows nothing but [`OPERATIONS`].
fn arrived(sent: &Sent) -> Result<Query, Failure> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let (path, parameters) = sent.path.split_once('?').unwrap_or((&sent.path, ""));
    let parts: Vec<&str> = path.split('/').collect();
    let is_meant = |operation: &&Operation| {
        let own: Vec<&str> = operation.path.split('/').collect();
        operation.method == sent.method
            && own.len() == parts.len()
            && own.iter().zip(&parts).all(|(own, part)| own.starts_with('{') || own == part)
    };
    let operation = OPERATIONS.iter().find(is_meant).unwrap();
    let in_path = operation.path.split('/').zip(&parts).filter_map(|(own, part)| {
        Some((own.strip_prefix('{')?.strip_suffix('}')?.to_owned(), decoded(part)))
    });
    let pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
    let behind = pairs.map(|(name, value)| (name.to_owned(), decoded(value)));
    let body = sent.body.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    operation.query(in_path.chain(behind), body)
}

proptest! {
    #[test]
    fn a_request_arrives_as_it_was_sent(query in any_query()) {
        prop_assert_eq!(arrived(&query.sent().unwrap()).unwrap(), query);
    }
}

#[test]
fn nobody_gets_another_request_understood_than_the_path_says() {
    let body = |text: &str| Some(serde_json::from_str(text).unwrap());
    let order = |body| Sent { method: Method::Post, path: "/v1/targets/web1/recover".to_owned(), body };
    assert!(arrived(&order(body(r#"{"dry_run":true}"#))).is_ok());
    for bad in [
        r#"{"dry_run":true,"target":"web2"}"#,
        r#"{"dry_run":true,"request":"heal"}"#,
        r#"{"dry_run":true,"unheard-of":1}"#,
        r#"{"dry_run":"true"}"#,
        "{}",
    ] {
        let failure = arrived(&order(body(bad))).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::BadRequest, "{bad}");
    }
    let asked = |path: &str| arrived(&Sent { method: Method::Get, path: path.to_owned(), body: None });
    assert_eq!(asked("/v1/events").unwrap(), Query::Events { target: None, lines: 1000, audit: false });
    for bad in ["?lines=many", "?audit=1", "?lines=1&lines=2", "?request=reload", "?line=1"] {
        let failure = asked(&format!("/v1/events{bad}")).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::BadRequest, "{bad}");
    }
}
