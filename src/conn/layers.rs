//! Layers between socket and MQTT: what a listener's bytes go through before they are packets.
//!
//! Owns: the layers of a connection, in the order in which bytes from the socket pass them: a PROXY header, TLS,
//! WebSocket or what nodes of a cluster say to each other. A plain connection has none and pays one pointer.
//! Always holds: a layer opens what was received in place, takes all of it and keeps what it cannot open yet; it seals
//! an outbox once, just before the socket is given it. Bytes of its own (a handshake, a pong, an alert) go out through the
//! layers below it, with what MQTT has to send or without, and the layer bounds them: a peer cannot make it owe more
//! and more. What a layer holds goes along when the connection is handed over, its own bytes among it. When a layer has found
//! the end, clean or not, nothing behind it is opened.
//! Leaves to others: when to receive and to flush, what becomes of a connection that has ended.
//!
//! A new one implements [`WireLayer`], is a variant of `AnyLayer`, and stands in `ListenerLayers::begin` or, for links, `DialLayers::begin` or `Wire::with_link`. `Inverting`
//! exists for tests: only a build with the feature `test-layers` can put it on a listener.

use core::net::IpAddr;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::inverting::Inverting;
use super::layer::{LayerEnd, Learned, WireLayer};
use super::nodes::{ForwardedClient, LinkLayer};
use super::outbox::Outbox;
use super::peer::Peer;
use super::proxied::ProxyLayer;
#[cfg(feature = "tls")]
use super::tls::{Handshake, Tls, TlsDial, TlsDialler, TlsListener, TlsParameters};
use super::websocket::WebSocketLayer;
use crate::auth::PeerIdentity;
use crate::cluster::LinkPeer;
use crate::settings::ListenerSettings;
use crate::telemetry::CloseReason;

/// What a connection's bytes pass.
#[derive(Debug, Default)]
pub enum Wire {
    /// Nothing: they are MQTT.
    #[default]
    Plain,
    /// At least one layer.
    Layered(Box<Layers>),
}

const _: () = assert!(size_of::<Wire>() == 8);

/// The layers of one connection, the one next to the socket first.
#[derive(Debug)]
pub struct Layers {
    stack: SmallVec<[AnyLayer; 1]>,
    /// How the peer's bytes ended, until the connection has heard of it.
    end: Option<LayerEnd>,
    has_ended: bool,
    /// What they have proved of the peer, until its CONNECT has been taken.
    identity: Option<Arc<PeerIdentity>>,
}

/// One layer of any kind.
#[derive(Debug)]
enum AnyLayer {
    #[cfg_attr(not(feature = "test-layers"), expect(dead_code, reason = "only tests have it"))]
    Inverting(Inverting),
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
    #[cfg(feature = "tls")]
    TlsDial(Box<TlsDial>),
    Proxy(ProxyLayer),
    WebSocket(WebSocketLayer),
    Link(Box<LinkLayer>),
}

/// Does the same with whichever layer it is.
macro_rules! with_layer {
    ($any:expr, $layer:ident => $call:expr) => {
        match $any {
            AnyLayer::Inverting($layer) => $call,
            #[cfg(feature = "tls")]
            AnyLayer::Tls($layer) => $call,
            #[cfg(feature = "tls")]
            AnyLayer::TlsDial($layer) => $call,
            AnyLayer::Proxy($layer) => $call,
            AnyLayer::WebSocket($layer) => $call,
            AnyLayer::Link($layer) => $call,
        }
    };
}

impl WireLayer for AnyLayer {
    fn open(&mut self, bytes: &mut Vec<u8>) -> Option<LayerEnd> {
        with_layer!(self, layer => layer.open(bytes))
    }

    fn has_own_bytes(&self) -> bool {
        with_layer!(self, layer => layer.has_own_bytes())
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        with_layer!(self, layer => layer.seal(plain, out));
    }

    fn end(&mut self, reason: CloseReason) {
        with_layer!(self, layer => layer.end(reason));
    }

    fn silence(&mut self) {
        with_layer!(self, layer => layer.silence());
    }

    fn awaits_goodbye(&self) -> bool {
        with_layer!(self, layer => layer.awaits_goodbye())
    }

    fn take_learned(&mut self) -> Option<Learned> {
        with_layer!(self, layer => layer.take_learned())
    }

    fn hear_peer(&mut self, peer: Peer) {
        with_layer!(self, layer => layer.hear_peer(peer));
    }

    fn is_done(&self) -> bool {
        with_layer!(self, layer => layer.is_done())
    }
}

#[cfg(feature = "tls")]
impl AnyLayer {
    fn is_away(&self) -> bool {
        match self {
            Self::Tls(layer) => layer.is_away(),
            Self::TlsDial(layer) => layer.is_away(),
            _ => false,
        }
    }

    fn is_shaking(&self) -> bool {
        match self {
            Self::Tls(layer) => layer.is_shaking(),
            Self::TlsDial(layer) => layer.is_shaking(),
            _ => false,
        }
    }

    fn agreed(&self) -> Option<TlsParameters> {
        match self {
            Self::Tls(layer) => layer.agreed(),
            Self::TlsDial(layer) => layer.agreed(),
            _ => None,
        }
    }

    fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        match self {
            Self::Tls(layer) => layer.take_handshake(),
            Self::TlsDial(layer) => layer.take_handshake(),
            _ => None,
        }
    }

    fn take_back(&mut self, handshake: Handshake) {
        match self {
            Self::Tls(layer) => layer.take_back(handshake),
            Self::TlsDial(layer) => layer.take_back(handshake),
            _ => {}
        }
    }
}

/// What the connections of a listener begin with.
#[derive(Clone, Debug, Default)]
pub enum ListenerLayers {
    /// MQTT directly.
    #[default]
    None,
    /// A handshake, then records, by this configuration.
    #[cfg(feature = "tls")]
    Tls(TlsListener),
    /// Every byte inverted. For tests.
    #[cfg(feature = "test-layers")]
    Inverting,
    /// The same twice. For tests.
    #[cfg(feature = "test-layers")]
    InvertingTwice,
}

impl ListenerLayers {
    /// The state of a connection that was just accepted from a listener with these settings.
    pub(super) fn begin(&self, settings: &Arc<ListenerSettings>, peer: Peer) -> Wire {
        let mut stack: SmallVec<[AnyLayer; 1]> = smallvec![];
        if settings.proxy_protocol {
            stack.push(AnyLayer::Proxy(ProxyLayer::default()));
        }
        match self {
            Self::None => {}
            #[cfg(feature = "tls")]
            Self::Tls(listener) => stack.push(AnyLayer::Tls(Box::new(Tls::new(listener)))),
            #[cfg(feature = "test-layers")]
            Self::Inverting => stack.push(AnyLayer::Inverting(Inverting::default())),
            #[cfg(feature = "test-layers")]
            Self::InvertingTwice => stack.extend([(); 2].map(|()| AnyLayer::Inverting(Inverting::default()))),
        }
        if settings.kind.has_websocket() {
            stack.push(AnyLayer::WebSocket(WebSocketLayer::new(settings, peer)));
        }
        if stack.is_empty() {
            return Wire::Plain;
        }
        Wire::of(stack)
    }
}

/// What a connection to another node begins with, below the link.
#[derive(Clone, Debug, Default)]
pub enum DialLayers {
    /// Nothing: both know the cluster's secret.
    #[default]
    None,
    /// A handshake, then records, by this configuration.
    #[cfg(feature = "tls")]
    Tls(TlsDialler),
}

impl DialLayers {
    /// The state of a connection to a node at this address.
    pub(super) fn begin(&self, to: IpAddr) -> Wire {
        match (self, to) {
            (Self::None, _) => Wire::Plain,
            #[cfg(feature = "tls")]
            (Self::Tls(dialler), to) => Wire::of(smallvec![AnyLayer::TlsDial(Box::new(TlsDial::new(dialler, to)))]),
        }
    }
}

impl Wire {
    fn of(stack: SmallVec<[AnyLayer; 1]>) -> Self {
        Self::Layered(Box::new(Layers { stack, end: None, has_ended: false, identity: None }))
    }

    /// The layers, if there are any.
    pub(super) const fn layers(&mut self) -> Option<&mut Layers> {
        match self {
            Self::Plain => None,
            Self::Layered(layers) => Some(layers),
        }
    }

    /// The same with a link above all that there is.
    pub(super) fn with_link(self, link: LinkLayer) -> Self {
        let link = AnyLayer::Link(Box::new(link));
        match self {
            Self::Plain => Self::of(smallvec![link]),
            Self::Layered(mut layers) => {
                layers.stack.push(link);
                Self::Layered(layers)
            }
        }
    }

    /// Who is at the other end of a link, as soon as that is known.
    pub(super) fn link_peer(&self) -> Option<LinkPeer> {
        let Self::Layered(layers) = self else { return None };
        layers.stack.iter().find_map(|layer| if let AnyLayer::Link(link) = layer { link.peer() } else { None })
    }

    /// The connection is a client's from now on that another node has forwarded.
    pub(super) fn set_forwarded(&mut self, client: ForwardedClient, identity: Option<Arc<PeerIdentity>>) {
        let Self::Layered(layers) = self else { unreachable!("it has come by a link") };
        layers.identity = identity;
        let mut stack = layers.stack.iter_mut();
        let link = stack.find_map(|layer| if let AnyLayer::Link(link) = layer { Some(link) } else { None });
        link.expect("it has come by a link").forwarded = Some(Box::new(client));
    }

    /// What another node says of the client of this connection, where it has forwarded it.
    pub(super) fn forwarded(&self) -> Option<&ForwardedClient> {
        let Self::Layered(layers) = self else { return None };
        let mut stack = layers.stack.iter();
        stack.find_map(|layer| if let AnyLayer::Link(link) = layer { link.forwarded.as_deref() } else { None })
    }

    /// Whether a layer has bytes to send that must not wait for MQTT's.
    pub(super) fn has_own_bytes(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Layered(layers) => layers.stack.iter().any(WireLayer::has_own_bytes),
        }
    }

    /// The connection is to close for this reason: the layers say goodbye behind all that is sealed after this, once.
    pub(super) fn end(&mut self, reason: CloseReason) {
        if let Self::Layered(layers) = self {
            layers.stack.iter_mut().for_each(|layer| layer.end(reason));
        }
    }

    /// Nobody hears the layers any more: what they had to say of their own is forgotten.
    pub(super) fn silence(&mut self) {
        if let Self::Layered(layers) = self {
            layers.stack.iter_mut().for_each(WireLayer::silence);
        }
    }

    /// Whether a layer has said goodbye and waits for the peer's.
    pub(super) fn awaits_goodbye(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Layered(layers) => layers.stack.iter().any(WireLayer::awaits_goodbye),
        }
    }

    /// Whether a layer's handshake is with somebody who runs it: nothing is received until it is back.
    pub(super) fn is_away(&self) -> bool {
        match self {
            #[cfg(feature = "tls")]
            Self::Layered(layers) => layers.stack.iter().any(AnyLayer::is_away),
            _ => false,
        }
    }

    /// What the ends of a TLS connection have agreed on. Of a client that another node has forwarded nobody here knows it.
    #[cfg(feature = "tls")]
    pub(super) fn agreed_tls(&self) -> Option<TlsParameters> {
        let Self::Layered(layers) = self else { return None };
        if self.forwarded().is_some() {
            return None;
        }
        layers.stack.iter().find_map(AnyLayer::agreed)
    }

    /// Whether a TLS handshake is not done, or has not begun.
    #[cfg(feature = "tls")]
    pub(super) fn is_shaking(&self) -> bool {
        let Self::Layered(layers) = self else { return false };
        layers.stack.iter().any(AnyLayer::is_shaking)
    }

    /// Who the peer has proved to be, for whoever takes it later.
    pub(super) fn identity(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Layered(layers) => layers.identity.as_deref(),
            Self::Plain => None,
        }
    }

    /// Takes out what the layers have proved of the peer. Where all of them are done, there are none from now on.
    pub(super) fn take_identity(&mut self) -> Option<Arc<PeerIdentity>> {
        let layers = self.layers()?;
        let identity = layers.identity.take();
        if layers.stack.is_empty() && layers.end.is_none() && !layers.has_ended {
            *self = Self::Plain;
        }
        identity
    }
}

impl Layers {
    /// Opens `bytes`, just received, in place: MQTT is left. Returns what was learned of the peer's address.
    pub(super) fn open(&mut self, bytes: &mut Vec<u8>) -> Option<Peer> {
        let mut address = None;
        for layer in &mut self.stack {
            if self.has_ended {
                bytes.clear();
                break;
            }
            if let Some(peer) = address {
                layer.hear_peer(peer);
            }
            let found = layer.open(bytes);
            if let Some(Learned { peer, identity }) = layer.take_learned() {
                address = peer.or(address);
                self.identity = identity.or(self.identity.take());
            }
            // What came before the end is still for the layers above.
            if found.is_some() && self.end.is_none() {
                self.end = found;
            }
        }
        self.has_ended |= self.end.is_some();
        self.stack.retain(|layer| !layer.is_done());
        address
    }

    /// Turns an outbox into what the socket is to be given: the layers' own bytes, and what is in it. `spare` is for its memory.
    pub(super) fn seal(&mut self, outbox: &mut Outbox, spare: &mut Vec<u8>) {
        outbox.rewrite(|bytes| {
            for layer in self.stack.iter_mut().rev() {
                spare.clear();
                layer.seal(bytes, spare);
                std::mem::swap(bytes, spare);
            }
        });
    }

    /// A handshake that is to be run elsewhere.
    #[cfg(feature = "tls")]
    pub(super) fn take_handshake(&mut self) -> Option<Box<Handshake>> {
        self.stack.iter_mut().find_map(AnyLayer::take_handshake)
    }

    /// A handshake was run: the next `open` has what it came to.
    #[cfg(feature = "tls")]
    pub(super) fn take_back(&mut self, handshake: Handshake) {
        if let Some(layer) = self.stack.iter_mut().find(|layer| layer.is_away()) {
            layer.take_back(handshake);
        }
    }

    /// How the peer's bytes ended, if they have and it was not taken before.
    pub(super) const fn take_end(&mut self) -> Option<LayerEnd> {
        self.end.take()
    }
}
