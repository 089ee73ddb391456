//! Step Functions: the States Language engine with its log, timers and API.
