//! Command lines: what they mean, and what is refused with which words.

use super::*;
use crate::plan::{Action, MqttVersion, Pace, Sources, TlsVersion};

fn parse_line(line: &str) -> Result<Order, clap::Error> {
    let words = std::iter::once("loadtest").chain(line.split_whitespace());
    parse(words.map(|word| word.trim_matches('\'').to_owned()))
}

fn run(line: &str) -> Run {
    match parse_line(line) {
        Ok(Order::Run(run)) => *run,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_command_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn without_arguments_the_canonical_workload_runs_here() {
    let run = run("");
    assert_eq!(run.plan.name, "quick");
    assert_eq!((run.plan.target.host.as_str(), run.plan.target.port), ("127.0.0.1", 1883));
    assert!(run.plan.run_id != 0 && run.is_checked && !run.is_quiet && run.agents.is_empty());
}

#[test]
fn flags_stand_before_and_behind_the_workload() {
    for line in [
        "p2p-10-10-100-100 -h broker -p 1884 -V 5 -k 60 -u user-%i -P secret --ifaddr 10.0.0.1,10.0.0.2",
        "-h broker -p 1884 -V 5 -k 60 -u user-%i -P secret --ifaddr 10.0.0.1,10.0.0.2 p2p-10-10-100-100",
    ] {
        let plan = run(line).plan;
        assert_eq!((plan.target.host.as_str(), plan.target.port, plan.target.keep_alive_s), ("broker", 1884, 60));
        assert_eq!(plan.target.version, MqttVersion::V5);
        assert_eq!(plan.target.username.unwrap().0, "user-%i");
        assert!(matches!(plan.sources, Sources::Addresses(addresses) if addresses.len() == 2));
    }
    let plan = run("one-to-one --clients 2K --window 16 -q 2 -s 1KiB -d 5s --prefix mine").plan;
    let publishing = plan.groups[1].publishing.as_ref().unwrap();
    assert_eq!((publishing.pace, publishing.qos, publishing.payload_bytes), (Pace::Closed { window: 16 }, 2, 1024));
    assert_eq!((plan.groups[1].client_id.0.as_str(), publishing.topic.0.as_str()), ("mine-pub-%i", "mine/one/%i"));
    assert_eq!(plan.groups[0].clients, 2_000);
}

#[test]
fn what_lies_below_mqtt_is_read_and_has_its_port() {
    let of = |line: &str| run(line).plan.target;
    for (line, port, name) in [
        ("--tls", 8883, "tls://127.0.0.1:8883"),
        ("--ws", 8083, "ws://127.0.0.1:8083/mqtt"),
        ("--ssl --websockets --ws-path /x", 8084, "wss://127.0.0.1:8084/x"),
        ("--tls -p 1", 1, "tls://127.0.0.1:1"),
        ("conn-tls-5-5 --ws", 8084, "wss://127.0.0.1:8084/mqtt"),
        ("--unix /run/mqtt.sock", 1883, "unix:/run/mqtt.sock"),
        ("--unix /run/mqtt.sock --ws", 8083, "ws://unix:/run/mqtt.sock /mqtt"),
    ] {
        assert_eq!((of(line).port, of(line).name().as_str()), (port, name), "{line}");
    }
    let tls =
        of("--tls --cacertfile ca.pem --certfile c-%i.pem --keyfile c-%i.key --tls-name broker --tls-version 1.3 \
         --tls-groups x25519,secp256r1 --tls-resume 25%");
    let tls = tls.tls.unwrap();
    assert_eq!((tls.certificate.unwrap().0.as_str(), tls.key.unwrap().0.as_str()), ("c-%i.pem", "c-%i.key"));
    assert_eq!((tls.groups.len(), tls.server_name.as_deref(), tls.version), (2, Some("broker"), Some(TlsVersion::V13)));
    assert!((tls.resume_percent - 25.0).abs() < 1e-9 && tls.ca_file == Some(PathBuf::from("ca.pem")));
    let token = of("--jwt-key k --jwt-algorithm HS384 --jwt-expiry 5m --jwt-claim aud=mqtt --jwt-claim n=%i").token;
    let token = token.unwrap();
    assert_eq!((token.expiry_s, token.algorithm.as_deref(), token.claims.len()), (300, Some("HS384"), 2));
}

#[test]
fn reports_and_thresholds_are_read() {
    let run =
        run("-o out.json --csv out.csv --hdr out.hlog --html out.html --fail-if 'p99>5ms' --fail-if 'loss>0' --quiet");
    assert_eq!(run.files.json, Some(PathBuf::from("out.json")));
    assert_eq!((run.thresholds.len(), run.is_quiet), (2, true));
    let order = parse_line("agent --listen 127.0.0.1:0").unwrap();
    assert!(matches!(order, Order::Agent { listen } if listen == "127.0.0.1:0"));
    assert!(matches!(parse_line("list").unwrap(), Order::List));
}

#[test]
fn the_commands_of_emqtt_bench_mean_the_same() {
    let plan =
        run("pub -h b -p 1884 -c 50 -R 100 -I 20 -t bench/%i -s 64 -q 1 -V 4 -k 30 -C false -x 9 -n 7 -L 100 -F 5")
            .plan;
    let group = &plan.groups[0];
    assert_eq!((group.clients, group.first, group.clean_start, group.session_expiry_s), (50, 7, false, 9));
    assert_eq!((group.receive_maximum, group.client_id.0.as_str()), (5, "loadtest_bench_pub_%i"));
    let publishing = group.publishing.as_ref().unwrap();
    assert_eq!((publishing.pace, publishing.messages_per_client), (Pace::Open { per_client_per_s: 50.0 }, Some(2)));
    assert!(matches!(plan.stages[0].action, Action::Ramp { rate_per_s: 100.0, .. }));
    assert!(matches!(plan.stages[1].action, Action::Hold { seconds, .. } if seconds < 2.0));
    assert_eq!((plan.target.version, plan.target.keep_alive_s), (MqttVersion::V311, 30));

    let plan = run("sub -c 3 -i 20 -t a/%i -t b/%c -q 2 --prefix x").plan;
    assert_eq!(plan.groups[0].subscriptions.len(), 2);
    assert_eq!(plan.groups[0].client_id.0, "x_bench_sub_%i");
    assert!(matches!(plan.stages[0].action, Action::Ramp { rate_per_s: 50.0, .. }));

    assert!(!plan.groups[0].pipeline && run("sub -t a --pipeline").plan.groups[0].pipeline);

    let plan = run("conn -c 9 -D 5s").plan;
    assert!(matches!(plan.stages[1].action, Action::Hold { seconds: 5.0, .. }));
    let plan = run("pub -t a -I 0 -F 10 -L 1000 -c 10").plan;
    assert!(matches!(plan.stages[1].action, Action::Burst { messages_per_client: 100, .. }));
}

#[test]
fn every_number_of_conn_pub_and_sub_takes_k_and_m() {
    let plan = run("pub -t a/%s -c 12K -R 2K -I 1K -s 16K -L 24K -n 1M -x 2K -k 1K").plan;
    let group = &plan.groups[0];
    assert_eq!((group.clients, group.first, group.session_expiry_s), (12_000, 1_000_000, 2_000));
    let publishing = group.publishing.as_ref().unwrap();
    assert_eq!((publishing.payload_bytes, publishing.messages_per_client), (16_000, Some(2)));
    assert_eq!((publishing.topic.0.as_str(), plan.target.keep_alive_s), ("a/%s", 1_000));
    assert!(matches!(plan.stages[0].action, Action::Ramp { rate_per_s: 2000.0, .. }));
    assert_eq!(run("sub -t a -c 1K -i 2K").plan.groups[0].clients, 1_000);
    assert!(!run("conn -c 1.5K -C no").plan.groups[0].clean_start);
}

#[test]
fn a_limit_ends_a_run_unless_its_clients_are_to_stay() {
    let holds = |line: &str| -> Vec<(String, f64)> {
        let stages = run(line).plan.stages;
        let told = stages[1..].iter().map(|stage| match &stage.action {
            Action::Hold { seconds, publish } => {
                assert_eq!(publish.is_empty(), stage.name == "stay", "{line}");
                (stage.name.clone(), *seconds)
            }
            Action::Burst { .. } => (stage.name.clone(), 0.0),
            other => panic!("{line}: {other:?}"),
        });
        told.collect()
    };
    let of = |list: &[(&str, f64)]| list.iter().map(|(name, s)| ((*name).to_owned(), *s)).collect::<Vec<_>>();
    for (line, stages) in [
        ("pub -t a -c 2 -L 20 -I 100", of(&[("publish", 2.0)])),
        ("pub -t a -c 2 -L 20 -I 100 -D 30s", of(&[("publish", 2.0), ("stay", 28.0)])),
        ("pub -t a -c 2 -L 20 -I 100 -D 1s", of(&[("publish", 1.0)])),
        ("pub -t a -c 2 -L 20 -I 100 --keep-connected", of(&[("publish", 2.0), ("stay", 1e8)])),
        ("pub -t a -c 2 -L 20 -I 100 --keep-connected -D 5s", of(&[("publish", 2.0), ("stay", 3.0)])),
        ("pub -t a -c 2 -L 20 -I 0", of(&[("burst", 0.0)])),
        ("pub -t a -c 2 -L 20 -I 0 -D 5s", of(&[("publish", 5.0)])),
        ("pub -t a -c 2 -L 20 -I 0 --keep-connected", of(&[("burst", 0.0), ("stay", 1e8)])),
        ("pub -t a -c 2 -I 0 -D 5s", of(&[("hold", 5.0)])),
    ] {
        assert_eq!(holds(line), stages, "{line}");
    }
}

#[test]
fn what_is_wrong_is_told_and_exits_with_2() {
    for (line, part) in [
        ("reconect-storm", "did you mean reconnect-storm?"),
        ("p2p-1-2-3-3", "as many subscribers as publishers"),
        ("--fail-if 'p99'", "is not a threshold"),
        ("--fail-if 'latency>1ms'", "is not a metric"),
        ("p2p-1-1-1-1 --window 3", "has no use for --window"),
        ("one-to-one --rate 5 --window 3", "cannot be used with"),
        ("--clients 0", "'0' for '--clients <N>': write a whole number from 1 to 4,294,967,295; K and M may follow"),
        ("conn -c 0", "'0' for '--count <N>': write a whole number from 1 to 4,294,967,295"),
        ("conn -c 5G", "'5G' for '--count <N>'"),
        ("sub -t a -c -3", "'-3' for '--count <N>'"),
        ("pub -t a -I 1.5", "'1.5' for '--interval-of-msg <MS>'"),
        ("pub -t a -F 70000", "'70000' for '--inflight <N>': write a whole number from 1 to 65,535"),
        ("pub -t a -R x", "'x' for '--connect-rate <N>'"),
        ("pub -t a -s some", "'some' for '--size <BYTES>'"),
        ("pub -t a -s 8", "--size: payload = 8 bytes, but it must be between 16"),
        ("pub -t a/%s -r", "--topic: topic \"a/%s\": %s and retain"),
        ("sub -t a/%s", "--topic: filter \"a/%s\": %r and %s are for published topics only"),
        ("conn -C perhaps", "'perhaps' for '--clean <BOOL>': write true or false"),
        ("conn -k 70K", "'70K' for '--keep-alive <SECONDS>': write a whole number from 0 to 65,535"),
        ("conn -p 70000", "'70000' for '--port <PORT>': 70000 is not in 0..=65535"),
        ("--connect-timeout 20h", "--connect-timeout = 20 h 0 min: it takes whole seconds, at most 65,535"),
        ("--ifaddr here", "'here' for '--ifaddr <ADDR>'"),
        ("agent --listen 10.0.0.5", "'10.0.0.5' for '--listen <ADDR:PORT>': write ADDRESS:PORT"),
        ("agent -p 1884", "agent has no use for --port"),
        ("-p 1884 agent", "agent has no use for --port"),
        ("list --html a.html", "list has no use for --html"),
        ("conn --quic", "--quic is not known here: loadtest speaks TCP, TLS, WebSocket and Unix sockets"),
        ("conn -S true", "--tls or --ssl turns TLS on"),
        ("--cafile ca.pem", "--cafile has no use without --tls"),
        ("--tls --ws-path /mqtt", "--ws-path has no use without --ws"),
        ("--jwt-claim a=b", "--jwt-claim has no use without --jwt-key"),
        ("--jwt-key k -P secret", "a token is the password"),
        ("--tls --insecure --cafile ca.pem", "insecure takes any certificate"),
        ("--tls --cert c.pem", "a client certificate needs its key"),
        ("--tls --cert c-%s.pem --key c.key", "%r and %s are for published topics only"),
        ("--tls --tls-groups x448", "\"x448\" is not known; there are x25519mlkem768"),
        ("--tls --tls-version 1.1", "no version of TLS that is spoken: 1.2 or 1.3"),
        ("--tls --tls-resume 120", "write a percentage from 0 to 100"),
        ("--ws --ws-path mqtt", "write a path such as /mqtt"),
        ("--unix /run/mqtt.sock -p 1883", "cannot be used with"),
        ("--unix /run/mqtt.sock --ifaddr 127.0.0.1", "no use for a Unix socket"),
        ("-P %s", "password = \"%s\": %r and %s are for published topics only"),
        ("--payload 8", "--payload: payload = 8 bytes"),
        ("--qos 3", "3 is not in 0..=2"),
        ("-V 6", "no version of MQTT"),
        ("--broker-pid 4194305", "no such process"),
        ("--broker-metrics nowhere", "is not a metrics address"),
        ("--duraton 5s", "--duration"),
        ("pub -t a/+", "--topic: topic \"a/+\""),
        ("pub", "--topic"),
        ("sub -t a#", "--topic: filter \"a#\""),
        ("run /nowhere/scenario.toml", "/nowhere/scenario.toml: No such file"),
        ("conn --clients 5", "unexpected argument"),
        ("--clients 5 conn", "are for workloads by name"),
        ("--pipeline sub -t a", "are for workloads by name"),
        ("pub -t a --pipeline", "unexpected argument"),
        ("conn-tcp-5-5 --pipeline", "has no use for --pipeline"),
        ("--drain 1.5s", "whole seconds"),
    ] {
        let error = parse_line(line).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(part), "{line}: {error}");
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn help_is_for_help_and_h_is_for_host() {
    let error = parse_line("--help").map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DisplayHelp);
    let text = error.to_string();
    for part in ["Exit status:", "--host", "--fail-if", "Examples:"] {
        assert!(text.contains(part), "{part}");
    }
    let agent = parse_line("agent --help").map(|_| ()).unwrap_err();
    assert_eq!(agent.kind(), ErrorKind::DisplayHelp);
    let flags: Vec<String> =
        agent.to_string().lines().filter(|line| line.contains("  --")).map(str::to_owned).collect();
    assert_eq!(flags.len(), 2, "{agent}");
    assert!(flags[0].contains("--listen <ADDR:PORT>") && flags[1].contains("--help"), "{agent}");
    assert_eq!(parse_line("pub --help").map(|_| ()).unwrap_err().kind(), ErrorKind::DisplayHelp);
    assert_eq!(parse_line("--version").map(|_| ()).unwrap_err().kind(), ErrorKind::DisplayVersion);
}

#[test]
fn the_list_has_every_name() {
    let text = list_text();
    for name in
        ["conn-tcp-1M-5K", "sharedsub-50K-500-50K-50K", "reconnect-storm", "mixed-fleet", "one-to-one", "million"]
    {
        assert!(text.contains(name), "{name}");
    }
}
