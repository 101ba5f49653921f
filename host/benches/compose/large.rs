//! An attachment of 100 MiB: from a file to bytes, beside lettre; and the whole way to a mail server by the release binary,
//! whose memory is watched.

use std::fs;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use acceptance::env::free_address;
use acceptance::event::{event, lines};
use acceptance::postfix::Sink;
use acceptance::{Site, TestEnv};
use bewit::blob::BlobStore;
use bewit::mail::{MailReader, Segment};
use lettre::message::{Attachment, header::ContentType};
use serde_json::json;

use super::common::measures::{Bound, Measures, quick};
use super::common::status;

/// Bytes of the attachment.
const SIZE: usize = 100 << 20;
/// How often memory is looked at; the kernel keeps the peak.
const LOOK: Duration = Duration::from_millis(10);

/// Both, once.
pub(super) fn measure(measures: &mut Measures) {
    let size = if quick() { SIZE / 10 } else { SIZE };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    rows(&file, size);
    let own = own(folder.path(), &file);
    let lettre = by_lettre(&file);
    measures.add(5, "MIME, 100 MiB attachment, file to bytes: of lettre", "x", Bound::AtMost(0.5), own / lettre);
    measures.add(0, "MIME, 100 MiB attachment", "ms", Bound::None, own * 1e3);
    measures.add(0, "MIME, 100 MiB attachment, lettre", "ms", Bound::None, lettre * 1e3);
    let (peak, usual, took) = whole(&file, size);
    measures.add(5, "100 MiB attachment, event to server: the process at its peak", "MiB", Bound::AtMost(32.0), peak);
    measures.add(0, "the same, an event without attachment", "MiB", Bound::None, usual);
    measures.add(0, "100 MiB attachment, event to server", "s", Bound::None, took);
}

/// Result rows as a server stores them, so many bytes of them at most.
fn rows(path: &Path, size: usize) {
    let mut out = io::BufWriter::new(fs::File::create(path).unwrap());
    let (mut written, mut n) = (0, 0);
    loop {
        let line =
            format!("{{\"Name\":\"svchost-{n}.exe\",\"Pid\":{n},\"CommandLine\":\"-k netsvcs -p -s Service{n}\"}}\n");
        written += line.len();
        if written > size {
            break;
        }
        out.write_all(line.as_bytes()).unwrap();
        n += 1;
    }
    out.flush().unwrap();
}

/// Seconds that it takes to read a stored file as part of a mail, in base64.
fn own(folder: &Path, file: &Path) -> f64 {
    let blobs = BlobStore::open(folder.join("blobs")).unwrap();
    let mut writer = blobs.create().unwrap();
    io::copy(&mut fs::File::open(file).unwrap(), &mut writer).unwrap();
    let body = [Segment::Base64(writer.finish().unwrap())];
    let begun = Instant::now();
    let mut mail = MailReader::new(b"Content-Transfer-Encoding: base64\r\n", &body, &blobs);
    let (mut buffer, mut octets) = (vec![0; 64 * 1024], 0);
    while let read @ 1.. = mail.read(&mut buffer).unwrap() {
        octets += read as u64;
    }
    assert_eq!(octets, body[0].len() + 37);
    begun.elapsed().as_secs_f64()
}

fn by_lettre(file: &Path) -> f64 {
    let begun = Instant::now();
    let kind = ContentType::parse("application/octet-stream").unwrap();
    let part = Attachment::new("rows.jsonl".to_owned()).body(fs::read(file).unwrap(), kind);
    let octets = lettre::Message::builder()
        .from("bewit@example.org".parse().unwrap())
        .to("ana@example.org".parse().unwrap())
        .singlepart(part)
        .unwrap()
        .formatted();
    assert!(octets.len() > file.metadata().unwrap().len() as usize);
    begun.elapsed().as_secs_f64()
}

/// The release binary with such an attachment, to a server: MiB at its peak, MiB of a run without it, seconds.
fn whole(file: &Path, size: usize) -> (f64, f64, f64) {
    let address = free_address();
    let _sink = Sink::start(address).expect("smtp-sink of Postfix");
    let rule = "\n[[rule]]\nname = \"analyst\"\nrecipients = [\"ana@example.org\"]\nsend_interval = 0\n\
        include_result_attachment_from = [{ source = \"Pslist\" }]\nattachments_max_mib = 200\n";
    let run = |large: bool| {
        let env = TestEnv::new();
        env.config(&Site::smtp(address.port()).rule(rule));
        let mut event = event(1);
        if large {
            fs::create_dir_all(env.path("spool")).unwrap();
            fs::copy(file, env.path("spool/rows.jsonl.rows")).unwrap();
            event["results"] = json!({ "Custom.Windows.Pslist": { "file": "rows.jsonl.rows" } });
        }
        env.drop_spool("events.jsonl", lines(&[event]));
        let begun = Instant::now();
        let mut child = Command::new(env.binary())
            .args(["run", "--once"])
            .current_dir(env.root())
            .env("BEWIT_LOG", "error")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut peak = 0.0;
        let status = loop {
            if let Some(kibibytes) = status(child.id(), "VmHWM") {
                peak = kibibytes;
            }
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(LOOK);
        };
        let took = begun.elapsed().as_secs_f64();
        assert!(status.success(), "bewit run --once: {status}");
        assert_eq!(env.state(), "delivered");
        let files = fs::read_dir(bewit::outbox::blob_folder(&env.path("bewit.db"))).unwrap();
        let stored = files.map(|file| file.unwrap().metadata().unwrap().len()).max().unwrap_or(0);
        (peak / 1024.0, took, stored)
    };
    let (usual, ..) = run(false);
    let (peak, took, stored) = run(true);
    assert!(stored > size as u64 / 100 * 95, "the attachment is not in the mail: {stored} bytes are");
    (peak, usual, took)
}
