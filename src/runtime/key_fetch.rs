//! The thread that fetches key sets which identity providers publish.
//!
//! Always holds: it waits for nobody but the provider, and for that no longer than its client's time limit; what cannot be had or
//! read is told in the log and leaves the keys as they were.

use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::http_client::HttpClient;
use crate::auth::token::TokenKeys;
use crate::limits::LISTENERS_MAX;
use crate::telemetry::log;

/// What came of a fetch: the URL, and the keys if there are any.
pub(super) type FetchedKeys = (Box<str>, Option<TokenKeys>);

/// A URL, and by what it is to be fetched.
pub(super) type KeyFetch = (Box<str>, HttpClient);

/// Starts the thread. One fetch of a URL is asked for at a time, and each listener has one URL at most.
pub(super) fn start() -> io::Result<(Sender<KeyFetch>, Receiver<FetchedKeys>)> {
    let (ask, asked) = bounded::<KeyFetch>(LISTENERS_MAX);
    let (give, given) = bounded(LISTENERS_MAX);
    thread::Builder::new().name("key-fetch".into()).spawn(move || {
        for (url, client) in asked {
            let fetched = fetch(&client, &url);
            match &fetched {
                Ok(keys) => log::event::key_set_fetched(&url, keys.len() as u64),
                Err(error) => log::event::key_set_failed(&url, error),
            }
            if give.send((url, fetched.ok())).is_err() {
                return;
            }
        }
    })?;
    Ok((ask, given))
}

fn fetch(client: &HttpClient, url: &str) -> Result<TokenKeys, String> {
    let reply = client.get(url).map_err(|error| error.to_string())?;
    if reply.status != 200 {
        return Err(format!("the answer is {}", reply.status));
    }
    let text = std::str::from_utf8(&reply.body).map_err(|_| "the answer is no text".to_owned())?;
    TokenKeys::parse_published(text).map_err(|error| error.to_string())
}
