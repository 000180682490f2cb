//! A real Prometheus scrapes a real monitor over mutual TLS, and is asked everything that dashboards and alert rules ask.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on should panic

use backdoors_tests::deployment::{Deployment, FOLDER};
use backdoors_tests::healing::plan;
use backdoors_tests::host::Host;
use backdoors_tests::machine::Machine;
use backdoors_tests::pair::Pair;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A user of the target; no other on the machine has this number.
const BOMBER: u32 = 61_803;
const PATIENCE: Duration = Duration::from_secs(60);
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dashboards");
/// What there is only after a recovery, and where the monitor's machine has a NIC.
const NOT_HERE: [&str; 3] =
    ["backdoors_recovery_phase_seconds", "backdoors_recovery_sessions", "backdoors_nic_hw_counter_total"];

/// A deployment whose monitor is scraped.
struct Scraped<'p> {
    deployment: Deployment<'p, Host>,
}

impl<'p> Scraped<'p> {
    fn start(pair: &'p Pair) -> Scraped<'p> {
        let mut plan = plan("emulated", "");
        plan.agent = format!(
            "scope = \"pid-namespace\"\nservice_socket = \"{FOLDER}/services.sock\"\nservice_addresses = [\"10.88.0.1\"]\n\
             [limits]\n\"user.processes\" = 20\n[[service]]\nname = \"shop\"\nports = [8080]\nsessions = 4\n"
        );
        plan.healers = format!(
            "[[target.healer]]\nname = \"forkbomb\"\nmode = \"propose\"\n\
             [api]\nlisten = \"127.0.0.1:7804\"\n\
             [[api.client]]\nname = \"prometheus\"\ncertificate = \"{FOLDER}/prometheus.crt\"\n"
        );
        let mut deployment = pair.install(plan).unwrap();
        let backdoors = pair.monitor.program("backdoors").unwrap();
        pair.monitor.shell(&format!("{backdoors} keys new --name prometheus --dir {FOLDER}")).unwrap();
        deployment.start_daemon().unwrap();
        let scraped = Scraped { deployment };
        scraped.start_prometheus();
        scraped
    }

    /// By the configuration that is for everybody, with the places of this lab.
    fn start_prometheus(&self) {
        let read =
            |file: &str| std::fs::read_to_string(Path::new(FILES).join("prometheus").join(file)).unwrap();
        let mut config = read("prometheus.yml");
        for (theirs, ours) in [
            ("/etc/backdoors/", &format!("{FOLDER}/")),
            ("watch1", &"monitor".to_owned()),
            ("10.0.0.7:7804", &"127.0.0.1:7804".to_owned()),
            ("scrape_interval: 10s", &"scrape_interval: 1s".to_owned()),
        ] {
            assert!(config.contains(theirs), "{theirs} is not in {config}");
            config = config.replace(theirs, ours);
        }
        let config = format!("global:\n  evaluation_interval: 1s\n{config}");
        let host = self.deployment.monitor;
        host.write(&format!("{FOLDER}/alerts.yml"), &read("alerts.yml")).unwrap();
        host.write(&format!("{FOLDER}/prometheus.yml"), &config).unwrap();
        host.shell(&format!("promtool check config {FOLDER}/prometheus.yml")).unwrap();
        let command = format!(
            "prometheus --config.file={FOLDER}/prometheus.yml --storage.tsdb.path={FOLDER}/tsdb \
             --web.listen-address=127.0.0.1:9090"
        );
        host.start(&command, &format!("{FOLDER}/prometheus.log")).unwrap();
    }

    fn ask(&self, path: &str, query: &str) -> Result<Value, String> {
        let quoted = query.replace('\'', "'\\''");
        let curl = format!(
            "curl --silent --show-error --get --data-urlencode 'query={quoted}' http://127.0.0.1:9090/api/v1/{path}"
        );
        let text = self.deployment.monitor.shell(&curl).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if answer["status"] == "success" {
            Ok(answer["data"].clone())
        } else {
            Err(format!("{query}: {answer}"))
        }
    }

    /// Waits until an answer is as wanted.
    fn wait_for(&self, path: &str, query: &str, is_good: impl Fn(&Value) -> bool) -> Value {
        let look = || Ok(self.ask(path, query).ok().filter(|answer| is_good(answer)));
        let found = self.deployment.monitor.wait_for(query, PATIENCE, look);
        found.unwrap_or_else(|error| {
            let log = self.deployment.monitor.shell(&format!("tail -n 20 {FOLDER}/prometheus.log"));
            panic!("{error}: {:?}\n{}", self.ask(path, query), log.unwrap_or_default())
        })
    }
}

/// Every query of a dashboard, with what Grafana would put in place of its variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap();
    let all = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let expressions = all.map(|target| target["expr"].as_str().unwrap());
    expressions
        .map(|text| text.replace("$__rate_interval", "30s").replace("$target", "target"))
        .inspect(|text| assert!(!text.contains('$'), "{text}"))
        .collect()
}

/// Names of metrics in a query.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("backdoors_") || word.starts_with("process_")).collect()
}

#[test]
fn every_query_of_dashboards_and_alerts_is_answered_by_a_prometheus_that_scrapes_a_monitor() {
    let pair = Pair::boot(100).unwrap();
    let scraped = Scraped::start(&pair);
    // A rate takes two readings, and a proposal what it is about.
    pair.target.shell_as(BOMBER, "for i in $(seq 25); do sleep 1000 & done; wait").unwrap();
    let has_some = |answer: &Value| answer["result"].as_array().is_some_and(|result| !result.is_empty());
    scraped.wait_for("query", "rate(backdoors_samples_total[30s]) > 0", has_some);
    scraped.wait_for("query", "backdoors_open_proposals > 0", has_some);
    scraped.wait_for("query", "backdoors_boxes_kept{service=\"shop\"} == 0", has_some);

    let known = scraped.ask("label/__name__/values", "").unwrap();
    let known: BTreeSet<&str> = known.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let mut asked = 0;
    let mut check = |query: &str, may_be_empty: bool| {
        let answer = scraped.ask("query", query).unwrap();
        for name in names(query) {
            assert!(known.contains(name) || NOT_HERE.contains(&name), "{query}: no monitor tells {name}");
        }
        let is_here = names(query).iter().all(|name| !NOT_HERE.contains(name));
        assert!(may_be_empty || !is_here || has_some(&answer), "{query} finds nothing");
        asked += 1;
    };
    for entry in std::fs::read_dir(Path::new(FILES).join("grafana")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for query in queries(&serde_json::from_str(&text).unwrap()) {
            // No repair was in vain, and none was made.
            check(&query, query.contains("kind="));
        }
    }
    let rules = scraped.wait_for("rules", "", |rules| {
        let rules = rules["groups"][0]["rules"].as_array();
        rules.is_some_and(|rules| rules.iter().all(|rule| rule["health"] == "ok"))
    });
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        // Most have nothing to say, which is as it should be.
        check(rule["query"].as_str().unwrap(), true);
    }
    assert!(asked > 60, "{asked}");

    let pending = |name: &'static str| {
        move |alerts: &Value| {
            let all = alerts["alerts"].as_array().into_iter().flatten();
            all.into_iter().any(|alert| alert["labels"]["alertname"] == name)
        }
    };
    scraped.wait_for("alerts", "", pending("BackdoorsProposalWaits"));
    scraped.wait_for("alerts", "", pending("BackdoorsSensorExceeded"));
}
