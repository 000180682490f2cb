use super::*;
use crate::api::Role;
use backdoors_sensor_box::Process;
use backdoors_sensor_box::SensorKind;
use std::time::Duration;

const WHOLE: &str = r#"
name = "monitor1"
identity = "keys"
journal = "/var/lib/backdoors/journal.jsonl"
listen = "10.0.0.2:7811"

[[peer]]
name = "monitor2"
address = "10.0.0.3:7811"
certificate = "monitor2.crt"

[[target]]
name = "web1"
address = "10.0.0.5:7801"
certificate = "web1.pem"
provider = "verbs"
device = "mlx5_0"
period = "10ms"
limits = { "user.processes" = 200, "kernel.timer" = "250ms" }
users = { build = 2000 }

[[target.healer]]
name = "forkbomb"
mode = "act"
cooldown = "2s"
policies = ["rate-too-high"]
spare = ["build"]
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/backdoors/monitor.toml"))
}

#[test]
fn a_whole_configuration_is_understood() {
    let config = parse(WHOLE).unwrap();
    assert_eq!(config.identity, Path::new("/etc/backdoors/keys"));
    assert_eq!(config.socket, Path::new(DEFAULT_SOCKET));
    assert_eq!(config.listen, Some("10.0.0.2:7811".parse().unwrap()));
    assert_eq!(config.peers[0].certificate, Path::new("/etc/backdoors/monitor2.crt"));
    let target = &config.targets[0];
    assert_eq!(target.certificate, Path::new("/etc/backdoors/web1.pem"));
    assert_eq!((target.provider, target.device.as_deref()), (ProviderName::Verbs, Some("mlx5_0")));
    assert_eq!(target.period, Duration::from_millis(10));
    assert_eq!(target.limits().unwrap().of(SensorKind::KERNEL_TIMER, 0, None), Some(250_000_000));
    assert_eq!(target.users["build"], 2000);
    let (healer, _) = &target.make_healers().unwrap()[0];
    assert_eq!((healer.mode, healer.cooldown()), (Mode::Act, Duration::from_secs(2)));
}

#[test]
fn a_healer_rests_as_long_as_it_says_itself_unless_told_otherwise() {
    let rests = |name: &str| {
        let healer = format!("name = \"{name}\"\nmode = \"act\"\n");
        let config =
            parse(&format!("{}{healer}", &WHOLE[..WHOLE.find("name = \"forkbomb\"").unwrap()])).unwrap();
        config.targets[0].healers[0].cooldown()
    };
    assert_eq!(rests("forkbomb"), Duration::from_secs(5));
    assert_eq!(rests("memory-hog"), Duration::from_millis(500));
}

#[test]
fn a_healer_only_proposes_unless_told_to_act() {
    let config = parse(&WHOLE.replace("mode = \"act\"\n", "")).unwrap();
    assert_eq!(config.targets[0].healers[0].mode, Mode::Propose);
}

#[test]
fn mistakes_are_named() {
    for (right, wrong, complaint) in [
        ("name = \"monitor2\"", "name = \"monitor1\"", "peer `monitor1` has this monitor's own name"),
        ("10.0.0.3:7811", "10.0.0.3", "peer `monitor2`: `10.0.0.3` is no address"),
        ("listen = \"10.0.0.2:7811\"", "listen = \"10.0.0.2\"", "invalid socket address"),
        ("name = \"web1\"", "name = \"../web1\"", "target `../web1`: a name is 1 to 64 letters"),
        ("period = \"10ms\"", "period = \"10\"", "is no duration"),
        ("period = \"10ms\"", "period = \"0s\"", "`period` must be between 1ms and 1h"),
        ("period = \"10ms\"", "connections = 0", "`connections` must be between 1 and 16"),
        ("\"user.processes\"", "\"user.dreams\"", "no sensor is called `user.dreams`"),
        ("\"250ms\"", "\"soon\"", "limit `kernel.timer`: `soon` is no duration"),
        ("name = \"forkbomb\"", "name = \"leeches\"", "no healer is called `leeches`"),
        ("spare = [\"build\"]", "sparse = [\"build\"]", "unknown field `sparse`"),
        ("spare = [\"build\"]", "spare = [\"nobody\"]", "`spare` names user `nobody`"),
        ("mode = \"act\"", "mode = \"rage\"", "unknown variant `rage`"),
        ("device = ", "devise = ", "unknown key `devise`: there are `name`, `address`"),
    ] {
        assert!(WHOLE.contains(right));
        let error = parse(&WHOLE.replace(right, wrong)).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn two_targets_of_one_name_are_refused() {
    let target = "\n[[target]]\nname = \"web1\"\naddress = \"x:1\"\ncertificate = \"c\"\n";
    let error = parse(&format!("{WHOLE}{target}")).unwrap_err().to_string();
    assert!(
        error.starts_with("/etc/backdoors/monitor.toml:30:1: target `web1`: a name is 1 to 64"),
        "{error}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/monitor.toml")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/monitor.toml"));
}

#[test]
fn promise_lease_and_rules_are_checked() {
    let target = |lines: &str| {
        let text = format!(
            "name = 'm'\nidentity = 'i'\njournal = 'j'\n[[target]]\nname = 'a'\naddress = 'a:1'\ncertificate = 'c'\n{lines}"
        );
        Config::parse(&text, Path::new("/m.toml")).map(|config| config.targets[0].clone())
    };
    let good = target(
        "false_alarm = 1e-9\nfastest = '2ms'\nlease = { duration = '1s', preference = 1 }\n\
         [[target.healer]]\nname = 'forkbomb'\n\
         [[target.rule]]\nlayer = 'user-space'\nfor = '2s'\nheal = 'forkbomb'\n\
         [[target.rule]]\nlayer = 'application'\nsubject = 'web'\nstate = 'suspect'\nrun = ['page', 'me']\n",
    )
    .unwrap();
    assert_eq!((good.lease.preference, good.lease.take_back_after), (1, Duration::from_secs(10)));
    assert_eq!(good.rules[0].lasting, Duration::from_secs(2));
    for (lines, complaint) in [
        ("false_alarm = 0.0", "false_alarm"),
        ("false_alarm = 2.0", "false_alarm"),
        ("fastest = '1s'", "fastest"),
        ("lease = { duration = '1ms' }", "lease.duration"),
        ("[[target.rule]]\nlayer = 'kernel'", "it does nothing"),
        ("[[target.rule]]\nlayer = 'kernel'\nheal = 'forkbomb'", "no such healer"),
        ("[[target.rule]]\nlayer = 'kernel'\nstate = 'healthy'\nrun = ['x']", "`state`"),
        ("[[target.rule]]\nlayer = 'kernel'\nsubject = 'web'\nrun = ['x']", "only applications"),
        ("[[target.rule]]\nlayer = 'kernel'\nconfidence = 7.0\nrun = ['x']", "`confidence`"),
        ("[[target.rule]]\nlayer = 'moon'\nrun = ['x']", "unknown variant"),
    ] {
        let error = target(lines).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn budget_spare_list_and_lifetime_are_checked() {
    let target = |lines: &str| {
        let text = format!(
            "name = 'm'\nidentity = 'i'\njournal = 'j'\n[[target]]\nname = 'a'\naddress = 'a:1'\ncertificate = 'c'\n{lines}"
        );
        Config::parse(&text, Path::new("/m.toml")).map(|config| config.targets[0].clone())
    };
    let bounds = target("").unwrap().budget.bounds();
    assert_eq!((bounds.repairs, bounds.victims), (6, 2000));
    assert_eq!(bounds.victim_cooldown, Duration::from_secs(60));
    let good = target(
        "users = { build = 2000 }\nproposal_lifetime = '1h'\n[target.budget]\nrepairs_per_minute = 1\n\
         [target.spare]\nusers = ['build', 2001]\ncommands = ['postgres']\ncgroups = ['shop.service']\n",
    )
    .unwrap();
    let spare = good.spare().unwrap();
    assert!(spare.user(2000) && spare.user(2001) && !spare.user(2002));
    let shop = Process { cgroup_name: "shop.service".into(), user: 3000, ..Process::default() };
    assert!(spare.process(&shop));
    assert_eq!((good.budget.repairs_per_minute, good.budget.victims_per_minute), (1, 2000));
    for (lines, complaint) in [
        ("budget = { repairs_per_minute = 0 }", "`budget.repairs_per_minute` must be between 1 and 60"),
        ("budget = { victims_per_minute = 0 }", "`budget.victims_per_minute` must be between 1 and 1000000"),
        ("budget = { victim_cooldown = '2h' }", "`budget.victim_cooldown` must be at most 1h"),
        ("budget = { unkillable_cooldown = '48h' }", "`budget.unkillable_cooldown` must be at most 24h"),
        ("budget = { repairs = 3 }", "unknown key `repairs`"),
        ("proposal_lifetime = '0s'", "`proposal_lifetime` must be between 1s and 24h"),
        ("spare = { users = ['eve'] }", "`spare` names user `eve`: give its number"),
        ("spare = { commands = ['postgres-exporter'] }", "write `postgres-export`"),
        ("spare = { groups = [1] }", "unknown key `groups`"),
    ] {
        let error = target(lines).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn limits_that_make_no_sense_are_told() {
    let all = "\"user.processes\" = 200, \"kernel.timer\" = \"250ms\"";
    let with = |limits: &str| WHOLE.replace(all, limits);
    for (limit, complaint) in [
        ("\"kernel.timer\" = 250", "250 ns are too short: write at least 1ms"),
        ("\"kernel.timer\" = \"1us\"", "`1us` is too short"),
        ("\"processes\" = \"5s\"", "`5s` is a duration, and this sensor counts something else"),
        ("\"processes/5\" = 5", "there is one `processes` on a machine"),
        ("\"processes\" = 0", "0 would always be exceeded"),
        ("\"processes\" = -5", "a limit is a number, or a duration"),
        ("\"user.processes/bob\" = 5", "after the slash stands the number"),
    ] {
        let told = lines(&with(limit));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("19:") && told[0].contains(complaint), "{told:?}");
    }
    parse(&with("\"processes.lost\" = 0, \"cpu.busy/1\" = 0")).unwrap();
}

#[test]
fn a_required_key_of_the_wrong_type_is_told_once_and_not_as_missing() {
    let told = lines(&WHOLE.replace("address = \"10.0.0.5:7801\"", "address = 5"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("14:11 invalid type: integer `5`"), "{told:?}");
}

fn lines(text: &str) -> Vec<String> {
    let ConfigError::Bad(bad) = parse(text).unwrap_err() else { panic!("it can be read") };
    bad.problems
        .iter()
        .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
        .collect()
}

#[test]
fn clients_of_other_machines_only_look_unless_told_otherwise_and_have_names_of_their_own() {
    let api = |second: &str, may: &str| {
        format!(
            "name = 'm'\nidentity = 'i'\njournal = 'j'\n[api]\nlisten = '10.0.0.2:7804'\n\
             [[api.client]]\nname = 'anna'\ncertificate = 'anna.crt'\n\
             [[api.client]]\nname = '{second}'\ncertificate = '/k/bert.crt'\n{may}"
        )
    };
    let config = parse(&api("bert", "may = 'act'")).unwrap();
    let clients = config.api.unwrap().clients;
    assert_eq!((clients[0].may, clients[1].may), (Role::Look, Role::Act));
    assert_eq!(clients[0].certificate, Path::new("/etc/backdoors/anna.crt"));
    assert_eq!(clients[1].certificate, Path::new("/k/bert.crt"));
    for name in ["anna", "", "a b"] {
        assert!(lines(&api(name, ""))[0].starts_with(&format!("10:1 client `{name}`: a name is")));
    }
    assert!(lines(&api("bert", "may = 'kill'"))[0].starts_with("12:7 unknown variant `kill`"));
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = r#"name = "m"
identity = "i"
jornal = "j"
journal = "j"

[[peer]]
name = "m"
address = "a:1"
certificate = "c"

[[target]]
name = "web1"
address = "web1:1"
certificate = "c"
period = "10"
connections = 99
limits = { "user.processes" = 200, "user.dreams" = 5, "kernel.timer" = "soon" }

[[target.healer]]
name = "forkbomb"
mode = "rage"
policies = []
sparse = 5

[[target.healer]]
name = "leeches"

[[target]]
address = "web2:1"
certificate = "c"

[[target]]
name = "web3"
address = "web3:1"
certificate = "c"

[[target.healer]]
name = "own"
command = ["/bin/true"]
watches = ["processes", "dreams"]
timeout = "1h"

[[target.rule]]
layer = "kernel"
heal = "forkbomb"
"#;
    let expected = [
        "3:1 unknown key `jornal`: there are `name`",
        "7:1 peer `m` has this monitor's own name",
        "15:10 `10` is no duration",
        "16:1 target `web1`: `connections` must be between 1 and 16",
        "17:36 target `web1`: no sensor is called `user.dreams`",
        "17:55 target `web1`: limit `kernel.timer`: `soon` is no duration",
        "21:8 unknown variant `rage`",
        "22:1 target `web1`: healer `forkbomb`: `policies` is empty",
        "23:1 target `web1`: healer `forkbomb`: unknown field `sparse`",
        "26:1 target `web1`: no healer is called `leeches`; there are: forkbomb, memory-hog, runaway, stuck-application",
        "28:1 missing key `name`",
        "40:1 target `web3`: healer `own`: `watches` names `dreams`",
        "41:1 target `web3`: healer `own`: `timeout` must be between 100ms and 60s",
        "43:1 target `web3`: a rule for kernel: `heal` names `forkbomb`",
    ];
    let told = lines(text);
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told} instead of {expected}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let told = lines("name = \"m\"\nidentity = = 5\njournal = \"j\n");
    assert!(told.len() == 3, "{told:?}");
    assert!(told[0].starts_with("2:12 "), "{told:?}");
    assert!(told[2].starts_with("3:13 "), "{told:?}");
}

#[test]
fn the_key_that_misses_something_is_blamed() {
    let told = lines(
        &WHOLE
            .replace(
                "policies = [\"rate-too-high\"]",
                "[[target.healer]]\nname = \"stuck-application\"\nrepair = \"kill-tree\"",
            )
            .replace("spare = [\"build\"]", "application = \"shop\""),
    );
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("28:1 target `web1`: healer `stuck-application`: `repair` needs a `user`"),
        "{told:?}"
    );
}

#[test]
fn programs_that_are_missing_or_cannot_be_run_are_told_and_paths_start_at_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("monitor.toml");
    let text = "name = 'm'\nidentity = 'i'\njournal = 'j'\n[[target]]\nname = 'a'\naddress = 'a:1'\ncertificate = 'c'\n\
        [[target.healer]]\nname = 'own'\ncommand = ['./healer', '-x']\nwatches = ['processes']\n\
        [[target.rule]]\nlayer = 'kernel'\nrun = ['/nonexistent/page']\n";
    std::fs::write(&file, text).unwrap();
    let problems = || match Config::load(&file) {
        Err(ConfigError::Bad(bad)) => bad.to_string(),
        other => panic!("{other:?}"),
    };
    let (file_name, healer) = (file.display(), folder.path().join("./healer"));
    assert_eq!(
        problems(),
        format!(
            "{file_name}:10:1: target `a`: `{}` does not exist: install it, or correct its path\n\
             {file_name}:14:1: target `a`: `/nonexistent/page` does not exist: install it, or correct its path",
            healer.display()
        )
    );
    std::fs::write(&healer, "#!/bin/sh\n").unwrap();
    assert!(
        problems().contains(":10:1: target `a`: `") && problems().contains("is not executable: `chmod +x`")
    );
    std::fs::set_permissions(&healer, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    assert!(!problems().contains(":10:1:"));
    std::fs::write(&file, text.replace("/nonexistent/page", "page")).unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.targets[0].healers[0].program(), Some(healer));
    assert!(config.targets[0].make_healers().unwrap()[0].1.settings().contains_key("timeout"));
}

proptest::proptest! {
    /// Whatever stands in the file: it is good, or there is a problem on one of its lines.
    #[test]
    fn a_damaged_file_is_told_with_lines_that_it_has(changes in proptest::collection::vec((0..WHOLE.len(), "[ -~]"), 1..4)) {
        let mut text = WHOLE.to_owned();
        for (place, letter) in changes {
            text.replace_range(place..=place, &letter);
        }
        if let Err(ConfigError::Bad(bad)) = parse(&text) {
            let lines = text.lines().count() + 1;
            proptest::prop_assert!(!bad.problems.is_empty());
            proptest::prop_assert!(bad.problems.iter().all(|problem| (1..=lines).contains(&problem.line)), "{}", bad);
        }
    }
}
