//! The settings of a cluster by each of their ways in, and what does not go together.

use std::io;

use super::*;
use crate::config::{ConfigError, Invocation, SettingInEffect, load_on};
use crate::settings::Machine;

/// Whole: every other case is this with a change.
const WHOLE: [&str; 7] = [
    "--cluster-name=fleet",
    "--cluster-engine=nats://a:4222,b,tls://[2001:db8::1]",
    "--cluster-link=192.0.2.1:1885",
    "--cluster-secret-file=secret",
    "--cluster-engine-credentials=fleet.creds",
    "--cluster-engine-system-user=sys",
    "--cluster-engine-system-password-file=sys.password",
];

fn read_file(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("secret") => Ok("  0123456789abcdef  \n# not this\n".to_owned()),
        Some("short") => Ok("0123456789abcde\n0123456789abcdef\n".to_owned()),
        Some("d.toml") => Ok("[cluster]\nname = \"fleet\"\n".to_owned()),
        Some("ids") => Ok("7 fleet/seven\n".to_owned()),
        _ => std::fs::read_to_string(path),
    }
}

fn system() -> System<'static> {
    System { machine: Machine::default(), read_file: &read_file }
}

fn load(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, ConfigError> {
    let arguments = std::iter::once("dunlin").chain(arguments.iter().copied()).map(Into::into);
    load_on(&system(), arguments, environment.iter().map(|(name, value)| ((*name).into(), (*value).into())))
}

fn told(arguments: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    match load(arguments, environment) {
        Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

/// [`WHOLE`] without what begins like one of these, and with these.
fn with<'a>(changes: &[&'a str]) -> Vec<&'a str> {
    let name = |flag: &'a str| flag.split('=').next().unwrap_or_default();
    let kept = WHOLE.iter().copied().filter(|flag| changes.iter().all(|change| name(change) != name(flag)));
    kept.chain(changes.iter().copied().filter(|change| change.contains('='))).collect()
}

/// What the rows come to that these flags set.
fn checked(flags: &[&str]) -> Result<Option<ClusterConfig>, Vec<Fault>> {
    let Ok(Invocation::Run(config)) = load(&[], &[]) else { panic!("a broker by itself") };
    let settings = ClusterSettings::from_values(&|row| {
        let flag = format!("--{}=", row.flag);
        let given = flags.iter().find_map(|text| text.strip_prefix(&flag));
        given.map_or_else(|| row.default_value(&Machine::default()), |text| row.parse(&[text.to_owned()]).unwrap())
    });
    settings.checked(&config, &system())
}

#[test]
fn a_whole_cluster_is_read() {
    let cluster = checked(&WHOLE).unwrap().unwrap();
    assert_eq!((&*cluster.name, cluster.ranges, cluster.link.to_string()), ("fleet", 12, "192.0.2.1:1885".to_owned()));
    let server = &cluster.engine.server;
    assert_eq!(server.servers, ["nats://a:4222", "nats://b:4222", "tls://[2001:db8::1]:4222"]);
    assert_eq!((&server.login, server.timeout.as_secs()), (&NatsLogin::Credentials("fleet.creds".into()), 2));
    assert_eq!(server.tls, Some(TlsClientSettings::default()), "a URL asks for it");
    let password = SecretPlace::File("sys.password".into());
    assert_eq!(cluster.engine.system, NatsLogin::Password("sys".to_owned(), password));
    assert_eq!(cluster.advertise.to_string(), "192.0.2.1:1885");
    assert_eq!(cluster.trust, LinkTrustFiles::Secret(SecretPlace::File("secret".into())));
    assert_eq!(cluster.redirect, None);

    let other = with(&[
        "--cluster-engine=a",
        "--cluster-engine-credentials",
        "--cluster-engine-token-file=token",
        "--cluster-secret-file",
        "--cluster-link-cert=c",
        "--cluster-link-key=k",
        "--cluster-link-ca=a",
        "--cluster-link=[::]:1885",
        "--cluster-link-advertise=node-1.example:1886",
        "--cluster-ranges=64",
        "--cluster-redirect=mqtt-1.example",
    ]);
    let cluster = checked(&other).unwrap().unwrap();
    let server = &cluster.engine.server;
    assert_eq!((&server.login, &server.tls), (&NatsLogin::Token(SecretPlace::File("token".into())), &None));
    let certificates = LinkTrustFiles::Certificates { certificates: "c".into(), key: "k".into(), ca: "a".into() };
    assert_eq!((cluster.trust, cluster.ranges), (certificates, 64));
    assert_eq!(
        (cluster.advertise.to_string().as_str(), cluster.redirect.as_deref()),
        ("node-1.example:1886", Some("mqtt-1.example"))
    );
    assert_eq!(checked(&[]), Ok(None), "a broker by itself");
}

#[test]
fn what_does_not_go_together_is_said() {
    for (changes, expected) in [
        (&["--cluster-name"][..], "--cluster-engine: it is of a cluster, and --cluster-name names none"),
        (&["--cluster-engine"], "--cluster-name: a cluster rests on NATS servers"),
        (&["--cluster-engine=nats://ann:s3cret@a"], "--cluster-engine: an address has no user"),
        (&["--cluster-engine=ws://a"], "is no address of NATS"),
        (&["--cluster-engine=nats://a:0"], "is no address of NATS"),
        (&["--cluster-engine=nats://a/x"], "is no address of NATS"),
        (&["--cluster-engine=none,a"], "stands alone or not at all"),
        (&["--cluster-engine=a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"], "17 are given: allowed is 1 to 16"),
        (&["--cluster-link"], "--cluster-name: other nodes reach this one at an address of its own"),
        (&["--cluster-link=192.0.2.1"], "is no address with a port"),
        (
            &["--cluster-link=0.0.0.0:1885"],
            "--cluster-link: nobody can connect to 0.0.0.0: say with --cluster-link-advertise",
        ),
        (&["--cluster-link-advertise=a"], "is no host with a port"),
        (&["--cluster-link-advertise=2001:db8::1:1885"], "is no host with a port"),
        (&["--cluster-ranges=0"], "allowed is 1 to 64 (default 12)"),
        (&["--cluster-ranges=65"], "allowed is 1 to 64 (default 12)"),
        (&["--cluster-secret-file"], "--cluster-name: nodes have to know each other"),
        (
            &["--cluster-secret-file=short"],
            "--cluster-secret-file: short: its first line has 15 bytes, and a secret has 16 at least",
        ),
        (&["--cluster-secret-file=/nonexistent/secret"], "--cluster-secret-file: /nonexistent/secret: cannot be read"),
        (&["--cluster-link-ca=x"], "--cluster-link-ca: nodes know each other by a secret or by certificates"),
        (
            &["--cluster-secret-file", "--cluster-link-key=x"],
            "--cluster-link-key: --cluster-link-cert, --cluster-link-key and",
        ),
        (&["--cluster-engine-user=d"], "--cluster-engine-user: a user, a token and credentials are three ways"),
        (
            &["--cluster-engine-token-file=t"],
            "--cluster-engine-token-file: a user, a token and credentials are three ways",
        ),
        (
            &["--cluster-engine-credentials", "--cluster-engine-user=d"],
            "--cluster-engine-user: a user has a password: give --cluster-engine-password-file",
        ),
        (&["--cluster-engine-password-file=p"], "--cluster-engine-password-file: it is of no user"),
        (
            &["--cluster-engine-cert=c"],
            "--cluster-engine-cert: --cluster-engine-cert and --cluster-engine-key go together",
        ),
        (
            &["--cluster-engine-system-user", "--cluster-engine-system-password-file"],
            "--cluster-engine: a login of the engine's system account is needed",
        ),
        (&["--cluster-redirect=a b"], "is no server"),
        (&["--storage=disk"], "--storage: nodes of a cluster keep their sessions in memory"),
        (
            &["--sn-port=1884"],
            "--cluster-name: clients of MQTT-SN cannot be forwarded between nodes, and 127.0.0.1:1884 has them",
        ),
        (&["--shards=62"], "--shards: 62 is too many: a node has 61 at most"),
    ] {
        let problems = told(&with(changes), &[]);
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{changes:?}: {problems:?}");
        assert!(!problems.iter().any(|problem| problem.contains("s3cret")), "{problems:?}");
    }
    let alone = ["--storage=memory", "--shards=61"];
    assert_eq!(told(&with(&alone), &[]), [format!("--cluster-name: {NOT_BUILT}")]);
}

#[test]
fn whoever_asks_for_a_cluster_is_told_that_there_is_none_yet() {
    let expected = |source: &str| format!("{source}: {NOT_BUILT}");
    assert_eq!(told(&WHOLE, &[]), [expected("--cluster-name")]);
    for flag in ["--test-config", "--print-config"] {
        assert_eq!(
            told(&with(&[flag]).into_iter().chain([flag]).collect::<Vec<_>>(), &[]),
            [expected("--cluster-name")]
        );
    }
    for (arguments, environment, source) in [
        (&["-c", "d.toml"][..], &[][..], "d.toml:2: [cluster] name"),
        (&[], &[("DUNLIN_CLUSTER__NAME", "fleet")], "DUNLIN_CLUSTER__NAME"),
        (&["--cluster-ranges=12"], &[], "--cluster-ranges"),
    ] {
        let problems = told(arguments, environment);
        assert_eq!(problems.last(), Some(&expected(source)), "{problems:?}");
    }
}

#[test]
fn nobody_is_told_that_these_settings_exist() {
    let Ok(Invocation::Run(config)) = load(&[], &[]) else { panic!("a broker by itself") };
    assert!(CLUSTER_ROWS.iter().all(|row| row.is_hidden), "each of them");
    let is_of_cluster = |setting: &SettingInEffect| setting.name.starts_with("[cluster]");
    assert!(!config.settings_in_effect().iter().any(is_of_cluster) && !config.to_toml().contains("cluster"));
    let mut shown = crate::config::command_line();
    assert!(!shown.render_long_help().to_string().contains("cluster-"), "manuals and completions");
    let Ok(Invocation::Help(help)) = load(&["--help"], &[]) else { panic!("help") };
    assert!(!help.to_string().contains("cluster-") && help.to_string().contains("--max-inflight"));
}

#[test]
fn a_secret_that_everybody_may_read_is_none() {
    let path = std::env::temp_dir().join(format!("dunlin-secret-{}", std::process::id()));
    std::fs::write(&path, "0123456789abcdef").unwrap();
    let flag = format!("--cluster-secret-file={}", path.display());
    for (mode, is_open) in [(0o604, true), (0o640, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let faults = checked(&with(&[&flag])).err().unwrap_or_default();
        let texts: Vec<&str> = faults.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts.iter().any(|text| text.contains("everybody on this machine may read it")),
            is_open,
            "{texts:?}"
        );
        assert_eq!(texts.is_empty(), !is_open, "{texts:?}");
    }
    std::fs::remove_file(&path).unwrap();
}
