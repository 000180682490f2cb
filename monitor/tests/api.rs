//! What the daemon's API answers is what its own description says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, unused_imports, reason = "parts of it serve other tests")]
mod simulation;

use backdoors_monitor_api::operations::OPERATIONS;
use backdoors_monitor_api::{AskError, Client, FenceDeed, HealDeed, HealSubject, Query, openapi};
use jsonschema::Validator;
use serde_json::{Value, json};
use simulation::lab::Lab;
use std::io::Write;
use std::process::{Command, Stdio};

fn get(lab: &Lab, path: &str, headers: &str) -> (String, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n{headers}\r\n");
    let answer = lab.raw(request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// What checks documents against a schema of the description.
fn validator(document: &Value, schema: &Value) -> Validator {
    let schema = json!({"allOf": [schema], "components": document["components"]});
    jsonschema::draft202012::new(&schema).unwrap()
}

fn every_query() -> Vec<Query> {
    let target = || "web1".to_owned();
    let subject = HealSubject::Process(115);
    vec![
        Query::Targets {},
        Query::Peers {},
        Query::Sensors { target: target() },
        Query::Verdicts { target: Some(target()) },
        Query::Verdicts { target: None },
        Query::Healers { target: None },
        Query::Reload {},
        Query::Processes { target: target() },
        Query::Offers { target: target() },
        Query::Audit { target: target(), last: Some(3) },
        Query::Heal {
            target: target(),
            subject,
            deed: HealDeed::Kill,
            grace_ns: 0,
            dry_run: true,
            most_victims: 0,
        },
        Query::Sessions { target: target() },
        Query::Recover { target: target(), dry_run: true, without_fence: false, after_another: false },
        Query::Fence { target: target(), deed: FenceDeed::Look },
        Query::Proposals { target: None },
        Query::Approve { target: target(), id: 1, dry_run: true },
        Query::Reject { target: target(), id: 1 },
        Query::Events { target: None, lines: 100, audit: false },
    ]
}

#[test]
fn every_answer_and_every_refusal_is_as_the_description_says() {
    let lab = Lab::new();
    let (head, body) = get(&lab, "/openapi.json", "");
    assert!(head.contains("content-type: application/json"), "{head}");
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document, openapi::document());
    let mut client = Client::connect(&lab.socket().as_path().into()).unwrap();
    let mut answered = Vec::new();
    for query in every_query() {
        let request = serde_json::to_value(&query).unwrap()["request"].as_str().unwrap().to_owned();
        let operation = OPERATIONS.iter().find(|operation| operation.request == request).unwrap();
        let path = &document["paths"][operation.path];
        let described = if path["get"]["operationId"] == *request { &path["get"] } else { &path["post"] };
        let responses = &described["responses"];
        let (answer, response) = match client.ask::<Value>(&query) {
            Ok(answer) => {
                answered.push(request.clone());
                (answer, &responses["200"])
            }
            Err(AskError::Failed(failure)) => (serde_json::to_value(failure).unwrap(), &responses["default"]),
            Err(error) => panic!("{request}: {error}"),
        };
        let schema = &response["content"]["application/json"]["schema"];
        let validator = validator(&document, schema);
        let wrong: Vec<String> = validator.iter_errors(&answer).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{request}: {wrong:?} in {answer}");
        // A description that takes anything says nothing.
        assert!(!validator.is_valid(&json!(17)), "{request} may be anything");
    }
    for request in
        ["targets", "sensors", "verdicts", "healers", "processes", "heal", "peers", "proposals", "events"]
    {
        assert!(
            answered.iter().any(|other| other == request),
            "{request} was refused; answered were {answered:?}"
        );
    }
}

#[test]
fn events_are_told_as_they_happen_and_each_is_as_the_description_says() {
    let lab = Lab::new();
    let document = openapi::document();
    let schema = &document["paths"]["/v1/events/stream"]["get"]["responses"]["200"]["content"]["text/event-stream"]
        ["schema"];
    let validator = validator(&document, schema);
    let events = Client::connect(&lab.socket().as_path().into()).unwrap();
    let mut events =
        events.follow(&Query::Follow { target: Some("web1".to_owned()), lines: 100, audit: false }).unwrap();
    let past = events.next().unwrap().unwrap();
    assert!(validator.is_valid(&serde_json::to_value(&past).unwrap()), "{past:?}");
    lab.run(&["heal", "web1", "--pid", "115"]);
    let written = events.map(Result::unwrap).find(|event| event.kind == "command-written").unwrap();
    assert_eq!((written.target.as_str(), written.more["opcode"].as_str()), ("web1", Some("kill-process")));
}

#[test]
fn metrics_are_told_in_the_format_that_is_asked_for() {
    let lab = Lab::new();
    let (head, body) =
        get(&lab, "/metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n") && body.contains("backdoors_target_up{target=\"web1\"} 1.0"), "{body}");
    let (head, classic) = get(&lab, "/metrics", "");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        classic.contains("# TYPE backdoors_samples_total counter") && !classic.contains("# EOF"),
        "{classic}"
    );
    let mut promtool = Command::new("promtool");
    let promtool = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool, of the package prometheus");
    promtool.stdin.take().unwrap().write_all(classic.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}
