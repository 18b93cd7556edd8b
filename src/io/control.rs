//! Control: stops endpoints whose connections are streams.
//!
//! Owns what such an endpoint knows of its event loop.

use super::{Command, ListenerSlot, Mailbox};
use crate::error::AttemptError;
use crate::peer::EndpointId;
use crate::pipe::endpoint::Control;
use crate::sync::Arc;

/// The control of an endpoint that an event loop serves.
#[derive(Debug)]
pub(crate) struct StreamControl {
    mailbox: Arc<Mailbox>,
    /// The listening socket, which a stop closes from the calling thread.
    listener: Option<Arc<ListenerSlot>>,
}

impl StreamControl {
    /// For an endpoint that accepts from `listener`.
    pub(crate) fn listener(mailbox: &Arc<Mailbox>, listener: &Arc<ListenerSlot>) -> Box<Self> {
        Box::new(Self { mailbox: Arc::clone(mailbox), listener: Some(Arc::clone(listener)) })
    }

    /// For an endpoint that connects.
    pub(crate) fn dialer(mailbox: &Arc<Mailbox>) -> Box<Self> {
        Box::new(Self { mailbox: Arc::clone(mailbox), listener: None })
    }
}

impl Control for StreamControl {
    fn stop(&self, endpoint: EndpointId) {
        if let Some(listener) = &self.listener {
            self.mailbox.close_listener(listener);
        }
        self.mailbox.post(Command::Forget(endpoint));
    }

    fn is_inproc(&self) -> bool {
        false
    }

    fn file_loss(&self) -> Option<AttemptError> {
        self.listener.as_ref()?.file()?.loss()
    }
}
