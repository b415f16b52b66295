//! Revocation lists, certificates that come to their end while the broker runs, and what tickets are worth then.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::broker::Broker;
use crate::tls::{Authority, OpenSsl};
use crate::tls_choices::shaken;

/// A listener that requires certificates of this authority and looks them up in these lists of its directory.
fn mutual(ca: &Authority, lists: &[&str], more: &str) -> String {
    let lists: Vec<String> = lists.iter().map(|list| format!("{:?}", ca.path(list))).collect();
    let lists = if lists.is_empty() { String::new() } else { format!("tls_crl = [{}]\n", lists.join(", ")) };
    ca.listener("mutual", &format!("tls_ca = {:?}\ntls_client_cert = \"required\"\n{lists}{more}", ca.path("ca.pem")))
}

fn with(address: &str, of: &Authority, name: &str, more: &[&str]) -> OpenSsl {
    let (certificate, key) = (of.path(&format!("{name}.pem")), of.path(&format!("{name}.key")));
    OpenSsl::connect(address, &[&["-cert", &certificate, "-key", &key][..], more].concat())
}

fn refused(broker: &Broker, reason: &str, text: &str) {
    let line = broker.lines_to(&format!(" reason={reason} ")).pop().expect("a line");
    assert!(line.contains(" connect_refused ") && line.contains(text), "{line}");
}

#[test]
fn a_list_that_has_expired_lets_nobody_in_and_its_end_is_measured() {
    let ca = Authority::new("lists");
    for (name, serial) in [("server", 1), ("client", 2)] {
        ca.issue(name, serial, 90);
    }
    ca.revoke_until("crl.pem", &[3], -60);
    let plain = "[[listener]]\nname = \"plain\"\n";
    let admin = Admin::start("lists", &format!("{plain}{}", mutual(&ca, &["crl.pem"], "")));
    let (broker, address) = (&admin.broker, &admin.broker.addresses[1]);
    assert!(!with(address, &ca, "client", &[]).come_in());
    refused(broker, "tls_revoked", "the revocation list that its certificate is looked up in has expired");
    let metric = "\ndunlin_revocation_list_end_timestamp_seconds ";
    let text = admin.ask(&admin.viewer, "GET", "/metrics", None).text;
    let ends = text.split(metric).nth(1).and_then(|rest| rest.lines().next()).unwrap_or_else(|| panic!("{text}"));
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    let ago_s = since.as_secs_f64() - ends.parse::<f64>().expect("a number");
    assert!((60.0..120.0).contains(&ago_s), "{ends}");
}

#[test]
fn a_list_that_has_expired_is_believed_where_that_is_chosen_and_a_newer_one_is_read() {
    let ca = Authority::new("lists-accept");
    for (name, serial) in [("server", 1), ("client", 2), ("revoked", 3)] {
        ca.issue(name, serial, 90);
    }
    ca.revoke_until("crl.pem", &[3], -60);
    let broker = Broker::start("lists-accept", &mutual(&ca, &["crl.pem"], "tls_crl_expired = \"accept\""));
    let address = &broker.addresses[0];
    let lines = broker.lines_to(" ready");
    let text = "crl.pem expired 0 days ago: what was revoked since is not known";
    assert!(lines.iter().any(|line| line.contains("config_warning") && line.contains(text)), "{lines:?}");
    assert!(with(address, &ca, "client", &[]).come_in());
    assert!(!with(address, &ca, "revoked", &[]).come_in());
    refused(&broker, "tls_revoked", "its client certificate has been revoked");
    let refusing = mutual(&ca, &["crl.pem"], "");
    broker.reload(&refusing);
    assert!(!with(address, &ca, "client", &[]).come_in());
    refused(&broker, "tls_revoked", "has expired");
    ca.revoke_until("crl.pem", &[3], 3_600 * 48);
    let lines = broker.reload(&refusing);
    assert!(!lines.iter().any(|line| line.contains("tls_crl")), "{lines:?}");
    assert!(with(address, &ca, "client", &[]).come_in());
}

#[test]
fn a_list_that_has_expired_is_told_at_start() {
    let ca = Authority::new("lists-told");
    ca.issue("server", 1, 90);
    ca.revoke_until("crl.pem", &[3], -60);
    let broker = Broker::start("lists-told", &mutual(&ca, &["crl.pem"], ""));
    let lines = broker.lines_to(" ready");
    let text = "crl.pem expired 0 days ago: clients whose certificates it is about are refused";
    assert!(lines.iter().any(|line| line.contains("config_warning") && line.contains(text)), "{lines:?}");
}

/// The authority between a client's certificate and that of `tls_ca` needs no list of its issuer's, and is refused by one.
#[test]
fn an_authority_that_was_revoked_vouches_for_nobody() {
    let ca = Authority::new("chain");
    ca.issue("server", 1, 90);
    let between = ca.delegate("between", 7);
    between.issue("client", 2, 90);
    between.issue("revoked", 3, 90);
    between.revoke_until("own.pem", &[3], 3_600 * 48);
    ca.revoke_until("good.pem", &[8], 3_600 * 48);
    ca.revoke_until("bad.pem", &[7], 3_600 * 48);
    let chain = ca.path("between.pem");
    let come = |broker: &Broker, name| with(&broker.addresses[0], &between, name, &["-cert_chain", &chain]).come_in();
    let file = |more: &[&str]| mutual(&ca, &[&["between/own.pem"][..], more].concat(), "");
    let broker = Broker::start("chain", &file(&[]));
    assert!(come(&broker, "client"));
    assert!(!come(&broker, "revoked"));
    refused(&broker, "tls_revoked", "has been revoked");
    broker.reload(&file(&["good.pem"]));
    assert!(come(&broker, "client"));
    broker.reload(&file(&["bad.pem"]));
    assert!(!come(&broker, "client"));
    refused(&broker, "tls_revoked", "has been revoked");
    // Its own issuer's list is asked for in any case.
    broker.reload(&mutual(&ca, &["good.pem"], ""));
    assert!(!come(&broker, "client"));
    refused(&broker, "tls_revoked", "no revocation list of its certificate's issuer is at hand");
}

/// Comes in with a certificate of the authority's and keeps the ticket.
fn take_ticket(address: &str, ca: &Authority, name: &str, version: &str, ticket: &str) {
    let mut first = with(address, ca, name, &[version, "-sess_out", ticket]);
    assert!(first.come_in());
    first.say(&[0xe0, 0]);
    first.read(1);
    assert!(Path::new(ticket).exists(), "{version}: there is a ticket");
}

#[test]
fn a_ticket_is_worth_nothing_once_its_certificate_has_ended_or_is_revoked() {
    let ca = Authority::new("ticket-end");
    ca.issue("server", 1, 90);
    ca.issue("client", 2, 90);
    ca.revoke_until("crl.pem", &[9], 3_600 * 48);
    let file = mutual(&ca, &["crl.pem"], "");
    let broker = Broker::start("ticket-end", &file);
    let (address, ticket) = (&broker.addresses[0], ca.path("ticket"));
    let tickets = [("-tls1_2", ca.path("ticket-1.2")), ("-tls1_3", ca.path("ticket-1.3"))];
    ca.issue_for("localhost", "brief", 5, 10);
    let begun = Instant::now();
    for (version, ticket) in &tickets {
        take_ticket(address, &ca, "brief", version, ticket);
        let said = shaken(address, &[version, "-sess_in", ticket]);
        assert!(said.contains("Reused, "), "{version}: {said}");
    }
    std::thread::sleep(Duration::from_millis(11_100).saturating_sub(begun.elapsed()));
    for (version, ticket) in &tickets {
        assert!(!with(address, &ca, "brief", &[version, "-sess_in", ticket]).come_in(), "{version}");
        refused(&broker, "tls_expired", "its client certificate has expired");
    }
    take_ticket(address, &ca, "client", "-tls1_3", &ticket);
    assert!(shaken(address, &["-tls1_3", "-sess_in", &ticket]).contains("Reused, "));
    ca.revoke_until("crl.pem", &[2], 3_600 * 48);
    broker.reload(&file);
    assert!(!with(address, &ca, "client", &["-tls1_3", "-sess_in", &ticket]).come_in());
    refused(&broker, "tls_revoked", "has been revoked");
}

#[test]
fn a_certificate_that_comes_to_its_end_is_told_while_the_broker_runs() {
    let ca = Authority::new("ends");
    ca.issue_for("localhost", "server", 1, 8);
    let broker = Broker::start("ends", &ca.listener("secure", ""));
    let begun = Instant::now();
    let line = broker.lines_to(" expiry_warning ").pop().expect("a line");
    assert!(line.contains("server.pem expired 0 days ago: clients refuse it"), "{line}");
    assert!(begun.elapsed() < Duration::from_secs(20), "after {:?}", begun.elapsed());
}
