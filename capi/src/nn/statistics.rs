//! `nn_get_statistic`.

use std::ffi::c_int;

use crate::border::border;
use crate::errno::EINVAL;
use crate::table;

/// A statistic of a socket; the largest number if there is no such.
#[unsafe(no_mangle)]
pub extern "C" fn nn_get_statistic(s: c_int, stat: c_int) -> u64 {
    border(|| {
        let entry = table::get(s)?;
        let stats = entry.engine.socket().stats();
        Ok(match stat {
            101 => stats.established_connections,
            102 => stats.accepted_connections,
            103 => stats.dropped_connections,
            104 => stats.broken_connections,
            105 => stats.connect_errors,
            106 => stats.bind_errors,
            107 => stats.accept_errors,
            201 => stats.current_connections,
            202 => stats.inprogress_connections,
            203 => {
                let endpoints = entry.engine.socket().endpoints();
                endpoints.iter().filter(|it| it.status().last_error.is_some()).count() as u64
            }
            301 => stats.messages_sent,
            302 => stats.messages_received,
            303 => stats.bytes_sent,
            304 => stats.bytes_received,
            // What was set last, if there is anybody to send to.
            401 if entry.engine.sends() && stats.current_connections > 0 => {
                u64::try_from(entry.settings().send_priority).unwrap_or_default()
            }
            401 => 0,
            _ => return Err(EINVAL),
        })
    })
}
