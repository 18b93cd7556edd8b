//! What takes another process: a child, an example, a peer of another library.
//!
//! No other group starts processes. Between its fork and its exec a child holds every descriptor of its
//! parent, so a test beside it may see an address taken, or a connection open, a moment longer.

#[cfg(unix)] // passes descriptors on
mod activation;
#[cfg(target_os = "linux")] // counts in /proc
mod descriptors;
mod examples;
mod exit;
#[cfg(unix)] // nanocat and nngcat
mod interop;
mod network;
#[cfg(target_os = "linux")] // sets the affinity of a process
mod one_processor;
#[cfg(unix)] // sends signals
mod service_discovery;
#[cfg(unix)] // sends signals
mod stopped;
#[cfg(unix)] // named pipes are in no directory
mod working_directory;

/// The name of a test as `--exact` takes it.
fn name_of<T>(_test: T) -> &'static str {
    let path = std::any::type_name::<T>();
    path.split_once("::").expect("it is in a module of this crate").1
}
