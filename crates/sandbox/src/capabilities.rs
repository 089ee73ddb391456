//! What the machine can do, and what is asked of it.

use std::fmt;
use std::str::FromStr;

use crate::command::SandboxError;
use crate::spec::Confinement;

/// Landlock before this version breaks compilers (1: no rename between directories) or lets files be truncated (2).
pub(crate) const LANDLOCK_MINIMUM: i32 = 3;

/// How much confinement is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// The best the machine can do; refuses when it can do neither `Full` nor `Degraded`.
    #[default]
    Auto,
    /// Namespaces with everything on top, or refuse.
    Full,
    /// Landlock and seccomp without namespaces: no sockets at all, no private `/tmp`.
    Degraded,
    /// Limits only: the command can do what the user can do.
    None,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "full" => Ok(Self::Full),
            "degraded" => Ok(Self::Degraded),
            "none" => Ok(Self::None),
            other => Err(format!("unknown sandbox mode `{other}`: one of auto, full, degraded, none")),
        }
    }
}

/// What the machine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether the namespaces with their mounts and loopback can be set up; if not, why.
    pub namespaces: Result<(), String>,
    /// Whether a filter of system calls can be set up; if not, why.
    pub seccomp: Result<(), String>,
    /// Version of Landlock's interface, 0 when there is none.
    pub landlock_abi: i32,
    /// Whether a control group can bound the number of tasks.
    pub cgroup_pids: bool,
    /// Whether a control group can bound memory.
    pub cgroup_memory: bool,
}

impl Capabilities {
    /// Whether [`Mode::Auto`] finds anything.
    pub fn can_confine(&self) -> bool {
        self.confinement(Mode::Auto).is_ok()
    }

    /// Which confinement a mode means on this machine.
    ///
    /// # Errors
    /// [`SandboxError::Unavailable`] with what is missing.
    pub(crate) fn confinement(&self, mode: Mode) -> Result<Confinement, SandboxError> {
        let full = self.namespaces.clone().and(self.seccomp.clone());
        let degraded = self.degraded();
        match (mode, full, degraded) {
            (Mode::None, ..) => Ok(Confinement::None),
            (Mode::Auto | Mode::Full, Ok(()), _) => Ok(Confinement::Full),
            (Mode::Auto | Mode::Degraded, _, Ok(())) => Ok(Confinement::Degraded),
            (Mode::Full, Err(reason), _) | (Mode::Degraded, _, Err(reason)) => {
                Err(SandboxError::Unavailable { reason })
            }
            (Mode::Auto, Err(full), Err(degraded)) => {
                Err(SandboxError::Unavailable { reason: format!("{full}; {degraded}") })
            }
        }
    }

    pub(crate) fn landlock_usable(&self) -> bool {
        self.landlock_abi >= LANDLOCK_MINIMUM
    }

    fn degraded(&self) -> Result<(), String> {
        if !self.landlock_usable() {
            return Err(format!("landlock ABI {} is below {LANDLOCK_MINIMUM}", self.landlock_abi));
        }
        self.seccomp.clone()
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |state: &Result<(), String>| state.clone().err().unwrap_or_else(|| "yes".to_owned());
        let yes = |able: bool| if able { "yes" } else { "no" };
        write!(
            f,
            "namespaces: {}; seccomp: {}; landlock ABI: {}; cgroup pids: {}; cgroup memory: {}",
            shown(&self.namespaces),
            shown(&self.seccomp),
            self.landlock_abi,
            yes(self.cgroup_pids),
            yes(self.cgroup_memory)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(namespaces: bool, landlock_abi: i32) -> Capabilities {
        let namespaces = if namespaces { Ok(()) } else { Err("no user namespaces".to_owned()) };
        Capabilities { namespaces, seccomp: Ok(()), landlock_abi, cgroup_pids: false, cgroup_memory: false }
    }

    #[test]
    fn auto_takes_the_best_that_there_is() {
        assert_eq!(machine(true, 7).confinement(Mode::Auto).unwrap(), Confinement::Full);
        assert_eq!(machine(true, 0).confinement(Mode::Auto).unwrap(), Confinement::Full);
        assert_eq!(machine(false, 3).confinement(Mode::Auto).unwrap(), Confinement::Degraded);
    }

    #[test]
    fn a_machine_that_can_do_neither_refuses_and_says_why() {
        let refusal = machine(false, 2).confinement(Mode::Auto).unwrap_err().to_string();
        assert!(refusal.contains("no user namespaces; landlock ABI 2 is below 3"), "{refusal}");
        assert!(refusal.contains("--sandbox=none"), "{refusal}");
    }

    #[test]
    fn a_mode_that_was_asked_for_is_never_weakened() {
        assert!(machine(false, 7).confinement(Mode::Full).is_err());
        assert!(machine(true, 1).confinement(Mode::Degraded).is_err());
        assert_eq!(machine(false, 0).confinement(Mode::None).unwrap(), Confinement::None);
    }
}
