//! extism as a contender: `extism-peer GUEST.wasm EVENT.json MILLISECONDS` does for a turn what a line on standard input
//! names, and answers with the median in microseconds.

use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::time::{Duration, Instant};

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [guest, event, milliseconds] = args.as_slice() else { return Err("GUEST EVENT MILLISECONDS".into()) };
    let event = std::fs::read_to_string(event)?;
    let event = event.trim_end();
    let length = Duration::from_millis(milliseconds.parse()?);
    // Its own limit on time, as Bewit has one.
    let manifest = Manifest::new([Wasm::file(guest)]).with_timeout(Duration::from_millis(250));
    let compiled = CompiledPlugin::new(PluginBuilder::new(manifest).with_wasi(false))?;
    let mut kept = Plugin::new_from_compiled(&compiled)?;
    let answer: String = kept.call("decide", event)?;
    if !answer.ends_with(" rows") {
        return Err(format!("the guest answers {answer:?}").into());
    }
    println!("ready");
    for order in std::io::stdin().lock().lines() {
        let median = match order?.as_str() {
            "reused" => turn(length, || kept.call::<_, String>("decide", event).map(drop))?,
            "reused, nothing" => turn(length, || kept.call::<_, String>("nothing", event).map(drop))?,
            "fresh" => turn(length, || {
                let mut fresh = Plugin::new_from_compiled(&compiled)?;
                fresh.call::<_, String>("decide", event).map(drop)
            })?,
            other => return Err(format!("what is {other:?}?").into()),
        };
        println!("{median}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Calls for a while; the median in microseconds.
fn turn(length: Duration, mut call: impl FnMut() -> Result<(), extism::Error>) -> Result<f64, extism::Error> {
    for _ in 0..3 {
        call()?;
    }
    let (mut times, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < length || times.len() < 10 {
        let call_begun = Instant::now();
        black_box(call())?;
        times.push(call_begun.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
