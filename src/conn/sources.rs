//! Where connections come from, and how often.
//!
//! Always holds: a connection that is refused here has cost a descriptor and nothing else: no layer has begun, nothing was read.

#[cfg(feature = "tls")]
use core::net::IpAddr;
#[cfg(feature = "tls")]
use std::sync::Arc;

use super::connections::Connections;
use super::peer::Peer;
#[cfg(feature = "tls")]
use crate::auth::{BanList, BannedAddresses, operator_bans::OperatorBans};
use crate::telemetry::CloseReason;
use crate::time::Now;
#[cfg(feature = "tls")]
use crate::time::Timestamp;

/// How it is counted, and what the log says.
type SourceRefusal = (CloseReason, &'static str);

impl Connections {
    /// Whether one more connection of this listener may come now, wherever it comes from. It is counted.
    pub(super) fn admit_connection(&self, now: Now, listener: u8) -> Result<(), SourceRefusal> {
        let rate = self.listeners[usize::from(listener)].settings.connect_rate_max;
        if rate == 0 || self.config.rates.admits(now, listener, rate) {
            return Ok(());
        }
        Err((CloseReason::ConnectRate, "more clients connect a second than the listener's max_connect_rate"))
    }

    /// Whether a client may come from this address now. It is counted, unless it is that of a proxy, which speaks for many.
    pub(super) fn admit_source(&self, now: Now, listener: u8, peer: Peer) -> Result<(), SourceRefusal> {
        let Some(address) = peer.ip() else { return Ok(()) };
        let settings = &self.listeners[usize::from(listener)].settings;
        if settings.is_proxy(Some(address)) {
            return Ok(());
        }
        if !settings.allow_from.contain(address) {
            return Err((
                CloseReason::NetworkDenied,
                "its address is in none of the networks of the listener's allow_from",
            ));
        }
        if settings.deny_from.contain(address) {
            return Err((CloseReason::NetworkDenied, "its address is in a network of the listener's deny_from"));
        }
        // Elsewhere CONNACK says so.
        #[cfg(feature = "tls")]
        if settings.kind.has_tls() && self.is_banned(now, address) {
            return Err((
                CloseReason::Banned,
                "its address is banned, by --bans-file, by an operator or for its failed logins",
            ));
        }
        let rate = settings.connect_rate_per_address_max;
        if rate == 0 || self.config.rates.admits_address(now, listener, address, rate) {
            return Ok(());
        }
        Err((
            CloseReason::ConnectRate,
            "its address connects more often than the listener's max_connect_rate_per_address",
        ))
    }

    /// Whom operators have banned, from now on.
    #[cfg(feature = "tls")]
    pub fn use_bans(&mut self, bans: Option<Arc<OperatorBans>>) {
        self.bans = bans;
    }

    /// Whom a file bans, from now on.
    #[cfg(feature = "tls")]
    pub fn use_ban_list(&mut self, list: Option<Arc<BanList>>) {
        self.ban_list = list;
    }

    /// Where whoever counts failed logins says which addresses are banned for them.
    #[cfg(feature = "tls")]
    pub fn watch_banned(&mut self, addresses: Arc<BannedAddresses>) {
        self.banned = addresses;
    }

    /// Whether nobody is let in from this address, so that a handshake would be paid for nothing.
    #[cfg(feature = "tls")]
    fn is_banned(&self, now: Now, address: IpAddr) -> bool {
        let by_operator = self.bans.as_deref().is_some_and(|bans| bans.has_address(Timestamp(now.unix_ms), address));
        let by_list = self.ban_list.as_deref().is_some_and(|list| list.has_address(address));
        by_operator || by_list || self.banned.has(now, address)
    }
}
