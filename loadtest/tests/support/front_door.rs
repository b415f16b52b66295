//! dunlin with a listener of every kind, and certificates for its clients, in a folder that goes with it.

use crate::process::Broker;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::path::PathBuf;

/// What is kept of the clients' tokens on both sides.
pub(crate) const SECRET: &str = "thirty-two bytes, as the broker wants them";

/// See the file's text.
pub(crate) struct FrontDoor {
    pub(crate) broker: Broker,
    folder: PathBuf,
}

/// Its listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Plain,
    Tls,
    /// Asks for a client certificate.
    Mutual,
    Ws,
    Wss,
    /// Asks for a token.
    Tokens,
    Unix,
}

/// Who signs the certificates of one side.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.subject_alt_names.push(SanType::IpAddress("127.0.0.1".parse().expect("an address")));
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

impl FrontDoor {
    /// With certificates `client-0` to `client-9` of its authority, and `stranger` of another.
    pub(crate) fn open(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("loadtest-door-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("a file");
        let (ours, other) = (Authority::new("ours"), Authority::new("another"));
        write("ca.pem", &ours.pem());
        write("other-ca.pem", &other.pem());
        let names = (0..10).map(|number| format!("client-{number}")).chain(["server".to_owned()]);
        for (name, authority) in names.map(|name| (name, &ours)).chain([("stranger".to_owned(), &other)]) {
            let (certificate, key) = authority.issue(&name);
            write(&format!("{name}.pem"), &certificate);
            write(&format!("{name}.key"), &key);
        }
        write("secret", SECRET);
        let keys = KeyPair::generate().expect("a key");
        write("token.key", &keys.serialize_pem());
        write("token.pem", &keys.public_key_pem());
        let at = |file: &str| folder.join(file).display().to_string();
        let tls = format!("tls_cert = {:?}\ntls_key = {:?}\n", at("server.pem"), at("server.key"));
        let listeners = [
            ("plain", "tcp", String::new()),
            ("tls", "tls", tls.clone()),
            ("mutual", "tls", format!("{tls}tls_ca = {:?}\ntls_client_cert = \"required\"\n", at("ca.pem"))),
            ("ws", "ws", String::new()),
            ("wss", "wss", tls),
            (
                "tokens",
                "tcp",
                format!(
                    "jwt_key = [{:?}, {:?}]\nallow_anonymous = false\njwt_client_id_claim = \"client_id\"\n",
                    at("secret"),
                    at("token.pem")
                ),
            ),
        ];
        let tables = listeners.map(|(name, kind, more)| {
            format!("[[listener]]\nname = {name:?}\nkind = {kind:?}\nbind = \"127.0.0.1\"\nport = 0\n{more}")
        });
        let unix = format!("[[listener]]\nname = \"unix\"\nkind = \"unix\"\nunix = {:?}\n", at("mqtt.sock"));
        write("dunlin.toml", &(tables.concat() + &unix));
        let broker = Broker::dunlin_with(&["-c", &at("dunlin.toml"), "--no-pin", "--shards", "2"]);
        Self { broker, folder }
    }

    /// A file of its folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The port of a listener.
    pub(crate) fn port(&self, door: Door) -> u16 {
        let place = &self.broker.places[door as usize];
        let port = place.rsplit(':').next().and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("{door:?}: {place}"))
    }
}

impl Drop for FrontDoor {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
