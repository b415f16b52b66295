//! Files of Mosquitto: a real one as it is, and every way of damaging it.

use super::*;

/// Written by Mosquitto 2.0.11 on Debian 12: see `tests/crash/mosquitto.rs`, which makes such files.
const REAL: &[u8] = include_bytes!("real-v6.db");

#[test]
fn a_real_file_is_read_whole() {
    let db = MosquittoDb::read(REAL).unwrap();
    assert!(db.version == 6 && db.was_stopped && db.unknown == 0);
    let mut clients: Vec<_> = db.clients.iter().map(|client| (client.client_id, client.username)).collect();
    clients.sort_unstable();
    let ids: Vec<&str> = clients.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, ["half-sent", "offline", "reader", "released"]);
    // Of one of them 768 bytes were written.
    assert!(clients.iter().all(|(_, username)| *username == Some("ann")), "{clients:?}");
    assert!(db.clients.iter().all(|client| client.listener_port > 0));
    assert!(db.subscriptions.iter().any(|found| found.filter == "kept/#" && found.client_id == "offline"));
    let topics: Vec<&str> =
        db.retained.iter().filter_map(|id| db.messages.iter().find(|one| one.id == *id)).map(|one| one.topic).collect();
    assert!(topics.contains(&"retained/one") && topics.contains(&"retained/properties"), "{topics:?}");
    let states: Vec<u8> = db.client_messages.iter().map(|found| found.state).collect();
    for state in [3, 5, 7, 9, 11] {
        assert!(states.contains(&state), "{state}: {states:?}");
    }
    assert!(db.client_messages.iter().any(|found| found.subscription_ids() == [7]), "{db:?}");
}

/// What is cut off is told, unless a chunk ends there.
#[test]
fn every_beginning_of_a_file_is_read_or_refused() {
    let mut whole = 0;
    for len in 0..=REAL.len() {
        match MosquittoDb::read(&REAL[..len]) {
            Ok(_) => whole += 1,
            Err(MosquittoDbError::OtherFile) => assert!(len < HEADER_BYTES),
            Err(error) => assert!(matches!(error, MosquittoDbError::Chunk { .. }), "{error}"),
        }
    }
    let chunks = MosquittoDb::read(REAL).unwrap();
    let known = chunks.messages.len() + chunks.clients.len() + chunks.client_messages.len();
    assert_eq!(whole, 2 + known + chunks.subscriptions.len() + chunks.retained.len());
}

/// Nothing that a file may say makes this panic, or take more memory than the file has.
#[test]
fn every_byte_may_be_another_one() {
    let mut bytes = REAL.to_vec();
    for at in 0..bytes.len() {
        let was = bytes[at];
        for other in [was ^ 1, was ^ 0x80, 0, 0xff, was.wrapping_add(1)] {
            bytes[at] = other;
            if let Ok(db) = MosquittoDb::read(&bytes) {
                db.client_messages.iter().for_each(|found| drop(found.subscription_ids()));
                assert!(db.messages.len() + db.clients.len() <= REAL.len() / CHUNK_HEADER_BYTES);
            }
        }
        bytes[at] = was;
    }
}

#[test]
fn version_5_has_neither_user_names_nor_ports() {
    let mut file = [&MOSQUITTO_DB_MAGIC[..], &[0; 4], &[0, 0, 0, 5]].concat();
    file.extend([0, 0, 0, 6, 0, 0, 0, 18]);
    file.extend(1_900_000_000_i64.to_le_bytes());
    file.extend([0, 0, 14, 16, 0, 9, 0, 2]);
    file.extend(b"ab");
    let db = MosquittoDb::read(&file).unwrap();
    let client =
        DbClient { client_id: "ab", username: None, listener_port: 0, expires_s: 1_900_000_000, expiry_s: 3_600 };
    assert_eq!((db.version, &db.clients[..]), (5, &[client][..]));
    for (version, told) in [(4, "it is of version 4"), (7, "it is of version 7")] {
        file[22] = version;
        assert!(MosquittoDb::read(&file).unwrap_err().to_string().starts_with(told));
    }
}

#[test]
fn identifiers_of_another_size_are_refused() {
    let mut file = [&MOSQUITTO_DB_MAGIC[..], &[0; 4], &[0, 0, 0, 6], &[0, 0, 0, 1, 0, 0, 0, 16]].concat();
    file.extend([0; 8]);
    file.extend([1, 4, 0, 0, 0, 0, 0, 0]);
    assert_eq!(MosquittoDb::read(&file), Err(MosquittoDbError::IdentifierBytes(4)));
}
