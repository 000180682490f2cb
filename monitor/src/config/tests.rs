use super::*;
use backdoors_sensor_box::SensorKind;

const WHOLE: &str = r#"
name = "monitor1"
identity = "keys"
journal = "/var/lib/backdoors/journal.jsonl"

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
    let target = &config.targets[0];
    assert_eq!(target.certificate, Path::new("/etc/backdoors/web1.pem"));
    assert_eq!((target.provider, target.device.as_deref()), (ProviderName::Verbs, Some("mlx5_0")));
    assert_eq!(target.period, Duration::from_millis(10));
    assert_eq!(target.limits().unwrap().of(SensorKind::KERNEL_TIMER, 0, None), Some(250_000_000));
    assert_eq!(target.user_name(2000), Some("build"));
    let (healer, _) = &target.make_healers().unwrap()[0];
    assert_eq!((healer.mode, healer.cooldown), (Mode::Act, Duration::from_secs(2)));
}

#[test]
fn a_healer_only_proposes_unless_told_to_act() {
    let config = parse(&WHOLE.replace("mode = \"act\"\n", "")).unwrap();
    assert_eq!(config.targets[0].healers[0].mode, Mode::Propose);
}

#[test]
fn mistakes_are_named() {
    for (right, wrong, complaint) in [
        ("name = \"web1\"", "name = \"../web1\"", "target `../web1`: a name is 1 to 64 letters"),
        ("period = \"10ms\"", "period = \"10\"", "is no duration"),
        ("period = \"10ms\"", "period = \"0s\"", "`period` must be between 1ms and 1h"),
        ("period = \"10ms\"", "connections = 0", "`connections` must be between 1 and 16"),
        ("\"user.processes\"", "\"user.dreams\"", "no sensor is called `user.dreams`"),
        ("\"250ms\"", "\"soon\"", "limit `kernel.timer`: `soon` is no duration"),
        ("name = \"forkbomb\"", "name = \"leeches\"", "no healer is called `leeches`"),
        ("spare = [\"build\"]", "sparse = [\"build\"]", "unknown field `sparse`"),
        ("mode = \"act\"", "mode = \"rage\"", "unknown variant `rage`"),
        ("device = ", "devise = ", "unknown field `devise`"),
    ] {
        assert!(WHOLE.contains(right));
        let error = parse(&WHOLE.replace(right, wrong)).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn two_targets_of_one_name_are_refused() {
    let target = "\n[[target]]\nname = \"web1\"\naddress = \"x:1\"\ncertificate = \"c\"\n";
    assert!(matches!(parse(&format!("{WHOLE}{target}")), Err(ConfigError::BadName(_))));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/monitor.toml")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/monitor.toml"));
}
