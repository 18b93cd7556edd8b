//! RESPONDENT: what REP is to requests, to surveys.
//!
//! The machine is that of [`Answerer`]; only the numbers on the wire differ. One that does not want
//! to take part in a survey simply does not answer.

use super::rep::{Answerer, Role};
use crate::protocol_id::ProtocolId;

/// A RESPONDENT socket.
pub(crate) type Respondent = Answerer<ToSurveys>;

/// The role of a RESPONDENT.
#[derive(Debug)]
pub(crate) enum ToSurveys {}

impl Role for ToSurveys {
    const ID: ProtocolId = ProtocolId::RESPONDENT;
    const PEER: ProtocolId = ProtocolId::SURVEYOR;
}
