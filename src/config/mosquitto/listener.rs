//! One listener of a mosquitto.conf as a `[[listener]]` table: where it listens, what it speaks, its TLS and its bounds.
//!
//! Always holds: a listener that cannot be what it was is left out, as comments, and never one that lets in more than before. Who may come
//! in is the matter of `access`.

use std::net::IpAddr;

use super::ImportNote;
use super::ciphers::iana_names;
use super::draft::{DraftListener, DraftTable};
use super::lines::{ConfLine, ConfSources};
use super::sections::ConfListener;

/// Makes the table of a listener.
pub(super) fn table_of(conf: &ConfListener, sources: &ConfSources<'_>, notes: &mut Vec<ImportNote>) -> DraftListener {
    let table = DraftTable::default();
    let mut maker = TableMaker { conf, notes, made: DraftListener { table, left_out: None } };
    if let Some((line, text)) = &conf.fault {
        maker.leave_out(line, text);
        return maker.made;
    }
    maker.address(sources);
    maker.kind();
    maker.tls();
    maker.client_certificates();
    maker.proxy();
    maker.websocket();
    maker.bounds();
    maker.remarks();
    maker.made
}

struct TableMaker<'a, 'n> {
    conf: &'a ConfListener,
    notes: &'n mut Vec<ImportNote>,
    made: DraftListener,
}

impl TableMaker<'_, '_> {
    fn note(&mut self, line: &ConfLine, text: impl Into<String>) {
        self.notes.push(line.note(text));
    }

    /// The listener stands in the file as comments.
    fn leave_out(&mut self, line: &ConfLine, text: &str) {
        self.note(line, format!("{text}; the listener of {} is left out", self.conf.opened.place));
        self.made.left_out.get_or_insert_with(|| format!("{}: {}", line.place, line.option));
    }

    fn set(&mut self, flag: &str, texts: &[&str], line: &ConfLine) {
        if let Err(error) = self.made.table.set(flag, texts, line.place.to_string()) {
            self.note(line, format!("{error}; it is left out"));
        }
    }

    fn set_if_given(&mut self, option: &str, flag: &str) {
        if let Some(line) = self.conf.get(option) {
            self.set(flag, &[&line.value], line);
        }
    }

    fn address(&mut self, sources: &ConfSources<'_>) {
        let opened = &self.conf.opened;
        if self.conf.port == 0 {
            let path = self.conf.host.as_deref().unwrap_or_default();
            self.set("unix", &[path], opened);
            return;
        }
        let address = match (self.conf.get("bind_interface"), self.conf.host.as_deref()) {
            (Some(line), _) => {
                let text = format!(
                    "a listener has an address: write that of {0} as bind (ip -brief address show {0}); until then it is on \
                     loopback alone",
                    line.value
                );
                self.note(line, text);
                "127.0.0.1".to_owned()
            }
            (None, None) => self.every_address().to_owned(),
            (None, Some(host)) => self.address_of(host, sources),
        };
        self.set("bind", &[&address], opened);
        self.set("port", &[&self.conf.port.to_string()], opened);
    }

    fn every_address(&self) -> &'static str {
        match self.conf.get("socket_domain") {
            Some(line) if line.value == "ipv4" => "0.0.0.0",
            _ => "::",
        }
    }

    fn address_of(&mut self, host: &str, sources: &ConfSources<'_>) -> String {
        if host.parse::<IpAddr>().is_ok() {
            return host.to_owned();
        }
        let opened = &self.conf.opened;
        if host == "localhost" {
            self.note(
                opened,
                "names are not looked up: localhost is 127.0.0.1; write a second [[listener]] for ::1 if it is used",
            );
            return "127.0.0.1".to_owned();
        }
        if let Some(address) = (sources.address_of)(host) {
            self.note(opened, format!("names are not looked up at a start: {host} is {address} now"));
            return address.to_string();
        }
        let text = format!("{host} has no address now: write it as bind; until then it is on loopback alone");
        self.note(opened, text);
        "127.0.0.1".to_owned()
    }

    fn kind(&mut self) {
        let has_tls = self.conf.get("certfile").is_some();
        let kind = match self.conf.get("protocol") {
            Some(line) if line.value == "websockets" => {
                if has_tls {
                    "wss"
                } else {
                    "websocket"
                }
            }
            Some(line) if line.value == "http_api" => {
                self.leave_out(line, "[admin] port (18083) has the API, metrics and health, see docs/ADMIN.md");
                return;
            }
            Some(line) if line.value != "mqtt" => {
                self.leave_out(line, "there is no such protocol here");
                return;
            }
            _ if self.conf.port == 0 => "unix",
            _ if has_tls => "tls",
            _ => return,
        };
        let line = self.conf.get("protocol").or_else(|| self.conf.get("certfile")).unwrap_or(&self.conf.opened);
        self.set("listener-kind", &[kind], line);
    }

    fn tls(&mut self) {
        for option in ["tls_engine", "tls_engine_kpass_sha1"] {
            if let Some(line) = self.conf.get(option) {
                self.leave_out(line, "keys lie in files: there are no engines");
            }
        }
        if let Some(line) = self.conf.get("tls_keyform").filter(|line| line.value != "pem") {
            self.leave_out(line, "keys lie in files: there are no engines");
        }
        if let Some(line) = self.conf.get("psk_hint") {
            self.leave_out(line, "there are no pre-shared keys: give the devices certificates, or passwords in TLS");
        }
        self.key_pair();
        if self.conf.get("certfile").is_none() {
            return;
        }
        self.set_if_given("certfile", "tls-cert");
        self.set_if_given("keyfile", "tls-key");
        if let Some(line) = self.conf.get("tls_version") {
            match line.value.as_str() {
                "tlsv1.3" => self.set("tls-min-version", &["1.3"], line),
                "tlsv1.2" => self.set("tls-min-version", &["1.2"], line),
                _ => self.note(line, "1.2 is the oldest version of TLS here"),
            }
        }
        if let Some(line) = self.conf.get("dhparamfile") {
            self.note(line, "keys are exchanged by elliptic curves and ML-KEM: no parameters are needed");
        }
        self.ciphers();
    }

    /// With one of the two alone Mosquitto listens without TLS, which nobody will have meant. A door that a word
    /// other than true was to shut is not opened.
    fn key_pair(&mut self) {
        let without =
            "TLS needs both certfile and keyfile (with one of them Mosquitto listens without TLS): write both, or none";
        match (self.conf.get("certfile"), self.conf.get("keyfile")) {
            (Some(line), None) | (None, Some(line)) => self.leave_out(line, without),
            _ => {}
        }
        if let Some(line) = self.conf.get("require_certificate").filter(|line| !line.is_switch()) {
            self.leave_out(line, "whether clients need certificates is not clear");
        }
    }

    fn ciphers(&mut self) {
        let (old, new) = (self.conf.get("ciphers"), self.conf.get("ciphers_tls1.3"));
        let Some(line) = old.or(new) else { return };
        let read = |line: Option<&ConfLine>, is_new| iana_names(line.map(|line| line.value.as_str()), is_new);
        let (old, new) = (read(old, false), read(new, true));
        let unknown: Vec<&str> = old.unknown.iter().chain(&new.unknown).map(String::as_str).collect();
        if !unknown.is_empty() {
            let text =
                format!("not known here: {}; there are suites with AEAD and forward secrecy", unknown.join(", "));
            self.note(line, text);
        }
        let known: Vec<&str> = old.known.into_iter().chain(new.known).collect();
        if known.is_empty() || old.has_none || new.has_none {
            self.note(line, "no suite of the list is left: all that are known here are taken");
        } else {
            self.set("tls-ciphers", &known, line);
        }
    }

    fn client_certificates(&mut self) {
        let asks = self.conf.is_on("require_certificate");
        if self.conf.get("enable_proxy_protocol").is_some() {
            return;
        }
        if !asks {
            if let Some(line) = self.conf.get("cafile").filter(|_| self.conf.get("certfile").is_some()) {
                self.note(
                    line,
                    "no client certificates are asked for, so no authorities are needed; Mosquitto also sends what is missing of \
                     the server's own chain from it, and dunlin sends what tls_cert holds: write the whole chain there (Let's \
                     Encrypt: fullchain.pem)",
                );
            }
            return;
        }
        let Some(require) = self.conf.get("require_certificate") else { return };
        match (self.conf.get("cafile"), self.conf.get("capath")) {
            (Some(line), also) => {
                self.set("tls-ca", &[&line.value], line);
                if let Some(also) = also {
                    let text = format!("authorities stand in one file: cat {}/*.pem >> {}", also.value, line.value);
                    self.note(also, text);
                }
            }
            (None, Some(line)) => {
                let text = format!(
                    "authorities stand in one file: cat {0}/*.pem > {0}/all.pem, and tls_ca names it",
                    line.value
                );
                self.leave_out(line, &text);
            }
            (None, None) => self.leave_out(require, "client certificates need authorities, and there is no cafile"),
        }
        self.set("tls-client-cert", &["required"], require);
        self.set_if_given("crlfile", "tls-crl");
        self.certificate_user();
        if let Some(line) = self.conf.get("disable_client_cert_date_checks").filter(|line| line.is_on()) {
            self.note(line, "certificates out of their dates are refused, always");
        }
    }

    fn certificate_user(&mut self) {
        for (option, word) in [("use_subject_as_username", "subject"), ("use_identity_as_username", "common-name")] {
            if let Some(line) = self.conf.get(option).filter(|line| line.is_on()) {
                self.set("certificate-user", &[word], line);
            }
        }
    }

    fn proxy(&mut self) {
        let Some(line) = self.conf.get("enable_proxy_protocol") else { return };
        self.set("proxy-protocol", &["true"], line);
        let host = self.conf.host.as_deref().unwrap_or_default();
        if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
            self.set("proxy-from", &["127.0.0.0/8", "::1"], line);
        } else if self.conf.port != 0 {
            self.note(line, "the header is believed of proxies that are named: write proxy_from = [\"ADDRESS\"]; until then nobody can connect");
        }
        if let Some(line) = self.conf.get("proxy_protocol_v2_require_tls").filter(|line| line.is_on()) {
            self.note(line, "it is not checked that the proxy was reached by TLS: have the proxy refuse what was not");
        }
        if let Some(line) = self.conf.get("require_certificate").filter(|line| line.is_on()) {
            if !self.conf.is_on("use_identity_as_username") {
                let text = "with a proxy, a certificate lets in by its name alone: use_identity_as_username says so, or have the proxy \
                            refuse clients without one";
                self.leave_out(line, text);
            }
            self.certificate_user();
        }
    }

    fn websocket(&mut self) {
        let Some(line) = self.conf.get("protocol").filter(|line| line.value == "websockets") else { return };
        self.note(line, "Mosquitto takes every path, dunlin the one of ws_path: /mqtt, unless it says another");
        let lines = self.conf.lines.iter().filter(|line| line.option == "websockets_origin");
        let origins: Vec<&ConfLine> = lines.collect();
        if let Some(first) = origins.first() {
            let texts: Vec<&str> = origins.iter().map(|line| line.value.as_str()).collect();
            self.set("ws-origins", &texts, first);
        }
        if let Some(line) = self.conf.get("http_dir") {
            self.note(line, "files are not served: a web server does that");
        }
    }

    fn bounds(&mut self) {
        if let Some(line) = self.conf.get("max_connections").filter(|line| !line.value.starts_with('-')) {
            self.set("listener-max-connections", &[line.word()], line);
        }
        if let Some(line) = self.conf.get("accept_protocol_versions") {
            let words = line.value.split([',', ' ', '\t']).filter(|word| !word.is_empty());
            let versions: Vec<&str> = words.filter_map(version).collect();
            self.set("mqtt-versions", &versions, line);
        }
        if let Some(line) = self.conf.get("mount_point")
            && (line.value.contains('%')
                || self.made.table.set("mount-point", &[&line.value], line.place.to_string()).is_err())
        {
            self.leave_out(line, "a mount point ends with / here, and has no wildcard, nor a % that means itself");
        }
        if let Some(line) = self.conf.get("use_username_as_clientid").filter(|line| line.is_on()) {
            self.set("client-id-pattern", &["%u"], line);
            self.note(line, "the client id is not replaced: a client whose id is not its user name is refused, and one whose name nobody has checked; certificate_client_id replaces ids by certificates' names");
        }
    }

    /// What there is nothing to do about.
    fn remarks(&mut self) {
        for option in ["auto_id_prefix", "listener_auto_id_prefix"] {
            if let Some(line) = self.conf.get(option) {
                self.note(line, "clients without an id are given one that begins with auto-; that cannot be set");
            }
        }
        for option in ["packet_buffer_size", "websockets_headers_size"] {
            if let Some(line) = self.conf.get(option) {
                self.note(line, "buffers have the size that they need; the head of a WebSocket request may have 8 KiB");
            }
        }
    }
}

fn version(word: &str) -> Option<&'static str> {
    match word {
        "3" => Some("3.1"),
        "4" => Some("3.1.1"),
        "5" => Some("5.0"),
        _ => None,
    }
}
