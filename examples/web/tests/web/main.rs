//! The program that serves the page, and the page.

mod browser;
mod devtools;
mod page;
mod server;
