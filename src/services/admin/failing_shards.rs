//! An admin server's state over shards of which one has gone, for tests of changes that fail half-way.

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use super::state::AdminState;
use super::{AdminKept, AdminListener};
use crate::auth::operator_bans::OperatorBans;
use crate::config::{Invocation, load_on};
use crate::inbox::lane;
use crate::ring::{Plane, PlaneConfig};
use crate::services::connectors::ConnectorsHandle;
use crate::services::local::LocalDoor;
use crate::shard::{Command, Reply};

/// What the shard that is there was asked for, in order.
pub(super) struct AskedOfShard(Mutex<Receiver<String>>);

impl AskedOfShard {
    /// All of it up to now.
    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().try_iter().collect()
    }
}

/// Two shards: the first does what it is asked for, the second has gone.
pub(super) fn state_with_a_lost_shard(listeners: Vec<Arc<AdminListener>>) -> (Arc<AdminState>, AskedOfShard) {
    let (tell, asked) = mpsc::channel();
    let (lanes, taken) = mpsc::channel();
    thread::spawn(move || {
        let plane = Plane::new(PlaneConfig { sockets_max: 16, buffers: 16, ..PlaneConfig::default() }).unwrap();
        let (lively, mut inbox) = lane(plane.handle(), None);
        let (lost, gone) = lane(plane.handle(), None);
        drop(gone);
        lanes.send(vec![lively, lost]).unwrap();
        loop {
            inbox.begin_turn();
            while let Some((request, command)) = inbox.next_command() {
                let told = match &command {
                    Command::SetListener { index, is_open } => format!("listener {index} {is_open}"),
                    Command::UseBans(bans) => format!("bans {}", bans.is_some()),
                    Command::Drain(plan) => format!("drain {}", plan.is_some()),
                    _ => "something else".to_owned(),
                };
                if tell.send(told).is_err() {
                    return;
                }
                inbox.reply(request, Reply::Done);
            }
            thread::yield_now();
        }
    });
    let lanes = taken.recv().unwrap();
    let arguments = ["dunlin", "--storage", "memory"].map(Into::into);
    let system = crate::config::System::detect();
    let Ok(Invocation::Run(config)) = load_on(&system, arguments, []) else { panic!("it is a configuration") };
    let connectors = ConnectorsHandle::new(LocalDoor::new(lanes.clone()));
    let kept =
        AdminKept { certificates_end: Arc::default(), bans: OperatorBans::default(), keep_bans: None, connectors };
    let state = Arc::new(AdminState::new(&config, lanes, kept, Arc::default()));
    state.serves(Box::new(|_| {}), listeners);
    (state, AskedOfShard(Mutex::new(asked)))
}
