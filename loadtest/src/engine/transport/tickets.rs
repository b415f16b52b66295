//! Tickets of sessions, each the one of its client: nobody resumes what another began.
//!
//! Always holds: a client has its last ticket only, and a ticket of TLS 1.3 is used once.

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All tickets of a part, and whose handshake or record is at hand. One thread uses it.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<Cupboard>);

#[derive(Debug, Default)]
struct Cupboard {
    client: u32,
    may_resume: bool,
    v13: HashMap<u32, Tls13ClientSessionValue>,
    v12: HashMap<u32, Tls12ClientSessionValue>,
}

impl Tickets {
    /// What follows is of this client.
    pub(super) fn turn_to(&self, client: u32, may_resume: bool) {
        let mut cupboard = self.lock();
        (cupboard.client, cupboard.may_resume) = (client, may_resume);
    }

    fn lock(&self) -> MutexGuard<'_, Cupboard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    /// None: each client begins as if it had never been here.
    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        let mut cupboard = self.lock();
        let client = cupboard.client;
        cupboard.v12.insert(client, value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        let cupboard = self.lock();
        cupboard.v12.get(&cupboard.client).filter(|_| cupboard.may_resume).cloned()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        let mut cupboard = self.lock();
        let client = cupboard.client;
        cupboard.v12.remove(&client);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        let mut cupboard = self.lock();
        let client = cupboard.client;
        cupboard.v13.insert(client, value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut cupboard = self.lock();
        let client = cupboard.client;
        if cupboard.may_resume { cupboard.v13.remove(&client) } else { None }
    }
}
