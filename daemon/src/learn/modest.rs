//! Puts the trainer behind everything else: it computes when no one else wants to, and is the first to go when memory
//! runs out. What the system refuses stays as it was; the daemon has lowered nice value and disk priority already.

/// To be called on the main thread before any other is started: threads inherit it.
pub(super) fn step_back() {
    let _ = idle_processor();
    first_to_go();
}

#[cfg(target_os = "linux")]
fn idle_processor() -> Result<(), thread_priority::Error> {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle)
}

#[cfg(not(target_os = "linux"))]
fn idle_processor() -> Result<(), thread_priority::Error> {
    thread_priority::set_current_thread_priority(thread_priority::ThreadPriority::Min)
}

/// Above the daemon's score, far above what a person works with.
fn first_to_go() {
    if cfg!(target_os = "linux") {
        let _ = std::fs::write("/proc/self/oom_score_adj", "800");
    }
}
