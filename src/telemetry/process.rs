//! Metrics of this process itself, named by OpenTelemetry's conventions; its start time is named as Prometheus's own
//! clients do.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::platform;

/// Registers the process metrics, which are measured whenever metrics are read.
pub(super) fn observe(meter: &Meter) {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    meter
        .f64_observable_gauge("process.start_time")
        .with_unit("s")
        .with_description("When the process started, in seconds since 1970")
        .with_callback(move |observer| observer.observe(started, &[]))
        .build();
    meter
        .i64_observable_up_down_counter("process.memory.usage")
        .with_unit("By")
        .with_description("Resident memory")
        .with_callback(|observer| {
            if let Some(bytes) = platform::resident() {
                observer.observe(bytes, &[]);
            }
        })
        .build();
    meter
        .i64_observable_up_down_counter("process.unix.file_descriptor.count")
        .with_unit("{file_descriptor}")
        .with_description("Open files and connections")
        .with_callback(|observer| {
            if let Some(open) = platform::open_files() {
                observer.observe(open, &[]);
            }
        })
        .build();
    meter
        .f64_observable_counter("process.cpu.time")
        .with_unit("s")
        .with_description("CPU time of the process")
        .with_callback(|observer| {
            if let Some((user, system)) = platform::cpu() {
                observer.observe(user, &[KeyValue::new("cpu.mode", "user")]);
                observer.observe(system, &[KeyValue::new("cpu.mode", "system")]);
            }
        })
        .build();
}

/// Registers the metric of lost log lines.
pub(super) fn observe_log(meter: &Meter) {
    meter
        .u64_observable_counter("gleitzeit.log.lines_dropped")
        .with_description("Log lines that were dropped because they were not read")
        .with_callback(|observer| observer.observe(crate::sink::dropped(), &[]))
        .build();
}
