//! The program that serves the page.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The example, running. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
    /// The address of the page.
    pub(crate) page: String,
    /// The address of the sockets, without their paths.
    pub(crate) sockets: String,
}

impl Server {
    /// Begins to serve the page and its sockets.
    pub(crate) fn start(http: &str, sockets: &str) -> Self {
        let mut process = Command::new(kit::example("web"))
            .args([http, sockets])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let (page, sockets) = line.trim().split_once(' ').expect("two addresses");
        let (page, sockets) = (page.to_owned(), sockets.to_owned());
        Self { process, output, page, sockets }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where another one can take its place.
    pub(crate) fn places(&self) -> [String; 2] {
        [&self.page, &self.sockets].map(|url| url.split_once("://").expect("a scheme").1.to_owned())
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
