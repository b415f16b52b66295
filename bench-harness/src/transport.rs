//! What lies below MQTT in a cell, and the certificates for it: made by openssl for one call, so that no key is ever kept.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a cell's clients come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP alone.
    #[default]
    Tcp,
    /// TLS 1.3, a P-256 certificate.
    Tls,
    /// The same with a 2,048-bit RSA certificate.
    TlsRsa,
    /// The same with P-256, and a P-256 certificate of each client's.
    TlsMutual,
    /// WebSocket.
    Ws,
    /// WebSocket in TLS as above.
    Wss,
}

impl Transport {
    /// As start scripts are told it. An RSA certificate is only another file to them.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls | Self::TlsRsa => "tls",
            Self::TlsMutual => "mutual",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// Whether it needs certificates.
    pub(crate) const fn has_tls(self) -> bool {
        !matches!(self, Self::Tcp | Self::Ws)
    }

    /// Whether MQTT goes in frames.
    pub(crate) const fn has_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// A folder of certificates and keys, each in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    /// Makes an authority, servers of it with both kinds of keys, and a client of it, in `folder`.
    pub(crate) fn make(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let made = Self(folder.to_path_buf());
        let p256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
        for (name, kind) in [("ca", p256), ("server", p256), ("rsa", rsa), ("client", p256)] {
            openssl(&[&["genpkey"], &kind[..], &["-out", &made.file(&format!("{name}.key"))]].concat())?;
        }
        let (authority, key) = (made.file("ca.pem"), made.file("ca.key"));
        openssl(&[
            "req",
            "-x509",
            "-new",
            "-key",
            &key,
            "-days",
            "2",
            "-subj",
            "/CN=authority of a bench",
            "-out",
            &authority,
        ])?;
        let names = made.file("names");
        std::fs::write(&names, "subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            .map_err(|error| format!("{names}: {error}"))?;
        for name in ["server", "rsa", "client"] {
            let of = |kind: &str| made.file(&format!("{name}.{kind}"));
            let subject = format!("/CN={name}");
            openssl(&["req", "-new", "-key", &of("key"), "-subj", &subject, "-out", &of("csr")])?;
            openssl(&[
                "x509",
                "-req",
                "-in",
                &of("csr"),
                "-CA",
                &authority,
                "-CAkey",
                &key,
                "-CAcreateserial",
                "-days",
                "2",
                "-extfile",
                &names,
                "-out",
                &of("pem"),
            ])?;
        }
        Ok(made)
    }

    /// The path of one of them.
    pub(crate) fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// What a start script is told: the listener's certificate, its key, and whose certificates clients must have.
    pub(crate) fn of_server(&self, transport: Transport) -> Vec<(&'static str, String)> {
        let name = if transport == Transport::TlsRsa { "rsa" } else { "server" };
        let mut told = vec![
            ("BENCH_TLS_CERT", self.file(&format!("{name}.pem"))),
            ("BENCH_TLS_KEY", self.file(&format!("{name}.key"))),
        ];
        told.push(("BENCH_TLS_CA", self.file("ca.pem")));
        told
    }
}

fn openssl(arguments: &[&str]) -> Result<(), String> {
    let made = Command::new("openssl").args(arguments).stdin(Stdio::null()).output();
    let made = made.map_err(|error| format!("openssl (Debian package openssl): {error}"))?;
    if made.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&made.stderr);
    Err(format!("openssl {}: {}", arguments[0], said.lines().last().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_is_of_the_authority_and_has_its_kind_of_key() {
        let folder = std::env::temp_dir().join(format!("bench-certificates-{}", std::process::id()));
        let made = Certificates::make(&folder).expect("openssl is there");
        for (name, kind) in [("server", "prime256v1"), ("rsa", "2048 bit"), ("client", "prime256v1")] {
            let certificate = made.file(&format!("{name}.pem"));
            openssl(&["verify", "-CAfile", &made.file("ca.pem"), &certificate]).expect("it is of the authority");
            let text =
                Command::new("openssl").args(["x509", "-noout", "-text", "-in", &certificate]).output().expect("read");
            let text = String::from_utf8_lossy(&text.stdout).into_owned();
            assert!(text.contains(kind) && text.contains("IP Address:127.0.0.1"), "{name}: {text}");
        }
        assert!(openssl(&["x509", "-in", "/nowhere"]).expect_err("it is not there").starts_with("openssl x509: "));
        std::fs::remove_dir_all(folder).expect("ours");
    }
}
