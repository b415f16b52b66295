//! The admin server and pages of other sites: whom a request believes to ask, and cookies of more brokers than one.

use serde_json::{Value, json};

use crate::admin::{Admin, ask_as};

#[test]
fn a_page_whose_name_was_led_here_is_not_answered() {
    let admin = Admin::start("admin-hosts", "");
    let port = admin.address.rsplit(':').next().expect("a port");
    let status = |path: &str, head: &str| ask_as(&admin.address, head, "GET", path, None).status;
    for path in ["/healthz", "/metrics", "/"] {
        for host in [&admin.address, "127.0.0.1", "localhost", "broker.localhost:1", "[::1]:18083"] {
            assert_eq!(status(path, &format!("HTTP/1.1\r\nHost: {host}\r\n")), 200, "{path} {host}");
        }
        for host in ["evil.example", &format!("evil.example:{port}"), "127.0.0.1.evil.example"] {
            assert_eq!(status(path, &format!("HTTP/1.1\r\nHost: {host}\r\n")), 421, "{path} {host}");
        }
        assert_eq!(status(path, "HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"), 400, "{path}");
        assert_eq!(status(path, "HTTP/1.1\r\n"), 400, "{path}");
        assert_eq!(status(path, "HTTP/1.0\r\n"), 200, "{path}");
    }
}

#[test]
fn where_others_reach_it_in_plain_any_name_is_taken() {
    let admin = Admin::start("admin-hosts-open", "bind = \"0.0.0.0\"\nplain_http = true\n");
    let address = admin.address.replace("0.0.0.0", "127.0.0.1");
    let answer = ask_as(&address, "HTTP/1.1\r\nHost: broker.example:18083\r\n", "GET", "/healthz", None);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_page_of_another_site_changes_nothing_and_logs_nobody_in() {
    let admin = Admin::start("admin-origins", "");
    let login = json!({"user": "ann", "password": "sesame"});
    let publish = json!({"topic": "a", "payload": "b"});
    let status = |path: &str, body: &Value, more: &str| {
        let head = format!("HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{more}", admin.address, admin.operator);
        ask_as(&admin.address, &head, "POST", path, Some(body.clone())).status
    };
    let both = [("/api/v1/login", &login), ("/api/v1/publish", &publish)];
    for (path, body) in both {
        for foreign in ["Origin: http://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"] {
            assert_eq!(status(path, body, foreign), 403, "{path} {foreign}");
        }
        let own = format!("Origin: http://{}\r\n", admin.address);
        for own in [own.clone(), format!("{own}Sec-Fetch-Site: same-origin\r\n"), String::new()] {
            assert_eq!(status(path, body, &own), 200, "{path} {own}");
        }
    }
}

#[test]
fn two_brokers_of_one_host_have_cookies_of_their_own() {
    let [first, second] = ["admin-cookies-1", "admin-cookies-2"].map(|name| Admin::start(name, ""));
    let names = [&first, &second].map(|admin| {
        let head = format!("HTTP/1.1\r\nHost: {}\r\n", admin.address);
        let login = json!({"user": "ann", "password": "sesame"});
        let cookie = ask_as(&admin.address, &head, "POST", "/api/v1/login", Some(login)).cookie.expect("a cookie");
        let (pair, _) = cookie.split_once(';').expect("attributes");
        let head = format!("{head}Cookie: {pair}\r\n");
        assert_eq!(ask_as(&admin.address, &head, "GET", "/api/v1/overview", None).status, 200, "{pair}");
        pair.split_once('=').expect("a name").0.to_owned()
    });
    assert_ne!(names[0], names[1]);
}
