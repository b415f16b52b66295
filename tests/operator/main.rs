//! The built binary as it serves an operator who has a file: listeners, reloads, signals.

#![cfg(feature = "runtime")]

mod admin;
mod admin_api;
mod admin_do;
mod admin_look;
mod admin_tls;
mod admin_watch;
mod broker;
mod full;
mod howto;
mod listeners;
mod log;
mod mounts;
mod passwords;
mod provider;
mod rates;
mod reload;
mod rules;
mod sources;
mod stall;
mod tls;
mod unix;
mod web;
#[path = "../support/websocket.rs"]
mod websocket;
