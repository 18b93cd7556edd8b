//! Control: how endpoints whose connections are streams are stopped.
//!
//! Owns what the program's side of such an endpoint knows of the event loop.

use super::{Command, ListenerSlot, Mailbox};
use crate::error::AttemptError;
use crate::peer::EndpointId;
use crate::pipe::endpoint::Control;
use crate::sync::Arc;

/// An endpoint that the event loop works for.
#[derive(Debug)]
pub(crate) struct StreamControl {
    mailbox: Arc<Mailbox>,
    /// The listening socket, which can be dropped from here.
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
