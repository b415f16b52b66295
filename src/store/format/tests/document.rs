//! `docs/STORAGE-FORMAT.md` says what this module does.

use std::fmt::Write;

use crate::limits::{STORE_BATCH_MAX_BYTES, STORE_BLOCK_BYTES, STORE_PART_MAX_BYTES};
use crate::store::format::{BatchHeader, FORMAT_VERSION, KINDS, PageHeader, SegmentHeader};

const BEGIN: &str = "<!-- from src/store/format: DUNLIN_BLESS=1 cargo test --lib store::format -->\n";
const END: &str = "<!-- end -->\n";

fn table() -> String {
    let mut text = format!("{BEGIN}\n| number | record | fields |\n|---|---|---|\n");
    for (number, name, fields) in KINDS {
        let _ = writeln!(text, "| {number} | {name} | {fields} |");
    }
    let _ = write!(
        text,
        "\nFormat version {FORMAT_VERSION}; blocks of {STORE_BLOCK_BYTES} bytes; batches and pages of at most {STORE_BATCH_MAX_BYTES}; \
         payloads in parts of at most {STORE_PART_MAX_BYTES}. Headers: segment {}, batch {}, page {}, manifest {STORE_BLOCK_BYTES} bytes.\n\n{END}",
        SegmentHeader::BYTES,
        BatchHeader::BYTES,
        PageHeader::BYTES,
    );
    text
}

#[test]
fn the_document_lists_every_kind_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/STORAGE-FORMAT.md");
    let document = std::fs::read_to_string(path).expect("docs/STORAGE-FORMAT.md");
    let (before, rest) = document.split_once(BEGIN).expect("the line that begins the table");
    let (_, behind) = rest.split_once(END).expect("the line that ends it");
    let wanted = format!("{before}{}{behind}", table());
    if std::env::var_os("DUNLIN_BLESS").is_some() {
        std::fs::write(path, wanted).expect("the repository is writable");
        return;
    }
    assert_eq!(document, wanted, "write it anew with DUNLIN_BLESS=1 cargo test --lib store::format");
}
