//! What this process itself takes, named as Prometheus's own clients do.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::metrics::Meter;

/// Has it looked at whenever metrics are read.
pub(super) fn observe(meter: &Meter) {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let gauge = |name: &'static str, unit: &'static str, what: &'static str| {
        meter.f64_observable_gauge(name).with_unit(unit).with_description(what)
    };
    gauge("process.start_time", "s", "When the process started, in seconds since 1970")
        .with_callback(move |observer| observer.observe(started, &[]))
        .build();
    gauge("process.resident_memory", "By", "Memory that is in use")
        .with_callback(|observer| {
            if let Some(bytes) = resident() {
                observer.observe(bytes, &[]);
            }
        })
        .build();
    gauge("process.open_fds", "", "Open files and connections")
        .with_callback(|observer| {
            if let Ok(open) = fs::read_dir("/proc/self/fd") {
                observer.observe(open.count() as f64, &[]);
            }
        })
        .build();
    meter
        .f64_observable_counter("process.cpu")
        .with_unit("s")
        .with_description("Time that processors worked for the process")
        .with_callback(|observer| {
            if let Some(seconds) = cpu() {
                observer.observe(seconds, &[]);
            }
        })
        .build();
}

/// What the log has lost.
pub(super) fn observe_log(meter: &Meter) {
    meter
        .u64_observable_counter("gleitzeit.log.lines_dropped")
        .with_description("Lines of the log that were dropped because nobody read them")
        .with_callback(|observer| observer.observe(crate::sink::dropped(), &[]))
        .build();
}

fn resident() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}

fn cpu() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold blanks.
    let mut fields = text.rsplit(')').next()?.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / rustix::param::clock_ticks_per_second() as f64)
}
