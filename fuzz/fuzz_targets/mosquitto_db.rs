//! Any bytes taken for a file of Mosquitto's.

#![no_main]

use dunlin::store::mosquitto_db::MosquittoDb;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(db) = MosquittoDb::read(input) {
        // Nothing is copied, so everything in it lies in the bytes.
        let payloads: usize = db.messages.iter().map(|message| message.payload.len() + message.topic.len()).sum();
        assert!(payloads <= input.len());
        assert!(db.client_messages.iter().all(|found| found.subscription_ids().len() <= input.len()));
    }
});
