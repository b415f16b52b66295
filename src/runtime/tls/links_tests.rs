//! Links from files: two nodes shake hands, and what is wrong with a file is told.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

use super::*;
use crate::config::secrets::SecretPlace;

/// Files of a node, and of its cluster's authority.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dunlin-links-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["node-1.example".to_owned()]).unwrap().signed_by(&key, &issuer);
        for (file, text) in [
            ("cert.pem", certificate.unwrap().pem()),
            ("key.pem", key.serialize_pem()),
            ("ca.pem", issuer.pem()),
            ("other.pem", KeyPair::generate().unwrap().serialize_pem()),
            ("secret", "sixteen bytes, or more\nnot this\n".to_owned()),
            ("short", "too short\n".to_owned()),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn certificates(&self, [certificates, key, ca]: [&str; 3]) -> LinkTrustFiles {
        LinkTrustFiles::Certificates { certificates: self.path(certificates), key: self.path(key), ca: self.path(ca) }
    }

    fn node(&self) -> NodeFiles {
        NodeFiles::read(&self.path("cert.pem"), &self.path("key.pem"), &self.path("ca.pem")).unwrap()
    }
}

/// Whether both ends have the keys, and what the client's and the server's end found wrong.
fn shake(client: ClientConfig, server: ServerConfig) -> (bool, [Option<rustls::Error>; 2]) {
    let name = ServerName::try_from("192.0.2.1").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut errors = [None, None];
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while matches!(server.read_tls(&mut rest), Ok(1..)) {
            errors[1] = errors[1].take().or(server.process_new_packets().err());
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while matches!(client.read_tls(&mut rest), Ok(1..)) {
            errors[0] = errors[0].take().or(client.process_new_packets().err());
        }
    }
    let is_done = errors == [None, None] && !client.is_handshaking() && !server.is_handshaking();
    (is_done, errors)
}

#[test]
fn nodes_with_certificates_of_one_authority_know_each_other_by_whatever_address() {
    let (folder, other) = (Folder::new("one"), Folder::new("other"));
    let node = folder.node();
    let (is_done, errors) = shake(node.client().unwrap(), node.server().unwrap());
    assert!(is_done, "{errors:?}");
    let stranger = other.node();
    let (is_done, [of_client, _]) = shake(node.client().unwrap(), stranger.server().unwrap());
    assert!(!is_done && matches!(of_client, Some(rustls::Error::InvalidCertificate(_))), "{of_client:?}");
    let (is_done, [_, of_server]) = shake(stranger.client().unwrap(), stranger_server(&node, &stranger));
    assert!(!is_done && of_server.is_some(), "{of_server:?}");
}

/// A server of a node whose certificate the other believes, and that believes its own authority alone.
fn stranger_server(node: &NodeFiles, believed: &NodeFiles) -> ServerConfig {
    let files = NodeFiles {
        provider: Arc::clone(&node.provider),
        chain: believed.chain.clone(),
        key: believed.key.clone_key(),
        roots: Arc::clone(&node.roots),
    };
    files.server().unwrap()
}

#[test]
fn a_port_for_something_else_is_told_apart() {
    let folder = Folder::new("alpn");
    let node = folder.node();
    let mut server = node.server().unwrap();
    server.alpn_protocols = vec![b"mqtt".to_vec()];
    let (is_done, [of_client, of_server]) = shake(node.client().unwrap(), server);
    assert!(!is_done);
    assert_eq!(of_server, Some(rustls::Error::NoApplicationProtocol));
    let alert = rustls::AlertDescription::NoApplicationProtocol;
    assert_eq!(of_client, Some(rustls::Error::AlertReceived(alert)));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_setting() {
    let folder = Folder::new("wrong");
    let read = |files| LinkSecurity::read(&files).map_err(|problem| problem.to_string());
    let right = read(folder.certificates(["cert.pem", "key.pem", "ca.pem"])).unwrap();
    assert!(matches!(
        (right.trust, right.accepts, right.dials),
        (LinkTrust::Certificate, ListenerLayers::Tls(_), DialLayers::Tls(_))
    ));
    for (files, expected) in [
        (["none.pem", "key.pem", "ca.pem"], "[cluster] link_cert: "),
        (["cert.pem", "none.pem", "ca.pem"], "[cluster] link_key: "),
        (["cert.pem", "other.pem", "ca.pem"], "it is not the key of "),
        (["cert.pem", "key.pem", "none.pem"], "[cluster] link_ca: "),
        (["cert.pem", "key.pem", "key.pem"], "no certificate is in it"),
    ] {
        let told = read(folder.certificates(files)).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }
    let of_secret = |file: &str| LinkTrustFiles::Secret(SecretPlace::File(folder.path(file)));
    let right = read(of_secret("secret")).unwrap();
    assert!(matches!(
        (right.trust, right.accepts, right.dials),
        (LinkTrust::Secret(_), ListenerLayers::None, DialLayers::None)
    ));
    for file in ["short", "none"] {
        let told = read(of_secret(file)).unwrap_err();
        assert!(told.starts_with("[cluster] secret_file: "), "{told}");
    }
}
