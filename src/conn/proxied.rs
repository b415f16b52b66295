//! A PROXY header as a layer: it takes the header off, and is done.
//!
//! Always holds: nothing of the client is heard before the header is whole; nothing is said to the proxy.

use core::net::SocketAddr;
use std::sync::Arc;

use super::layer::{LayerEnd, LayerFailure, Learned, WireLayer};
use super::peer::Peer;
use super::proxy_header::{Proxied, ProxyHeaderReader};
use crate::auth::PeerIdentity;
use crate::ids::PeerAddress;
use crate::telemetry::CloseReason;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct ProxyLayer {
    reader: Box<ProxyHeaderReader>,
    learned: Option<Box<Learned>>,
    is_done: bool,
}

impl WireLayer for ProxyLayer {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        if self.is_done {
            return None;
        }
        match self.reader.take(bytes) {
            Ok(None) => bytes.clear(),
            Ok(Some((taken, proxied))) => {
                self.is_done = true;
                self.learned = Some(Box::new(learned(proxied)));
                bytes.drain(..taken);
            }
            Err(bad) => {
                bytes.clear();
                return Some(LayerEnd::Failed(LayerFailure { reason: CloseReason::ProxyHeader, text: bad.0 }));
            }
        }
        None
    }

    fn has_own_bytes(&self) -> bool {
        false
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(plain);
    }

    fn end(&mut self, _: CloseReason) {}

    fn silence(&mut self) {}

    fn take_learned(&mut self) -> Option<Learned> {
        self.learned.take().map(|learned| *learned)
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

fn learned(proxied: Proxied) -> Learned {
    let peer = proxied.source.map(|source: SocketAddr| Peer::from(PeerAddress::Ip(source)));
    let identity = proxied.tls.map(|tls| {
        let tls_version = Some(tls.version).filter(|version| !version.is_empty());
        Arc::new(PeerIdentity { common_name: tls.common_name, tls_version, ..PeerIdentity::default() })
    });
    Learned { peer, identity }
}
