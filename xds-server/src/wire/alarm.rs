//! What a stream waits for beside its client: changes, the end of the server, and time.
//!
//! A task that is woken for one thing polls all it waits for, and each poll goes through memory of its own. All that is rare
//! rings a stream's alarm instead; as long as it has not rung, nothing but the client is looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;
use slab::Slab;

#[derive(Debug)]
pub(crate) struct Alarm(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    rang: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Alarm {
    /// An alarm that has rung, so that everything is looked at a first time.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Bell { rang: AtomicBool::new(true), task: Mutex::default() }))
    }

    /// For a future that is rarely ready.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// Whether it rang since it was asked last. The task of the context is woken when it rings again.
    pub(crate) fn rang(&self, cx: &Context<'_>) -> bool {
        let mut task = self.0.task.lock();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        // After the task is known: whoever rings from here on wakes it.
        self.0.rang.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rang.store(true, Ordering::Release);
        let task = self.task.lock();
        if let Some(task) = &*task {
            task.wake_by_ref();
        }
    }
}

/// Alarms that ring together: those of a group's streams. Cloning it is cheap: all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarms(Arc<Mutex<Slab<Arc<Bell>>>>);

impl Alarms {
    pub(crate) fn join(&self, alarm: &Alarm) -> Joined {
        let at = self.0.lock().insert(alarm.0.clone());
        Joined { alarms: self.clone(), at }
    }

    pub(crate) fn ring(&self) {
        for (_, bell) in &*self.0.lock() {
            bell.wake_by_ref();
        }
    }
}

/// An alarm's place among others; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Joined {
    alarms: Alarms,
    at: usize,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.alarms.0.lock().try_remove(self.at);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_rings_once_and_wakes_the_task_of_the_last_poll() {
        let (one, two) = (Arc::new(Count::default()), Arc::new(Count::default()));
        let (first, second) = (Waker::from(one.clone()), Waker::from(two.clone()));
        let alarm = Alarm::new();
        assert!(alarm.rang(&Context::from_waker(&first)));
        assert!(!alarm.rang(&Context::from_waker(&first)), "nobody rang");
        alarm.waker().wake_by_ref();
        assert_eq!(one.0.load(Ordering::SeqCst), 1);
        assert!(alarm.rang(&Context::from_waker(&second)));
        alarm.waker().wake();
        assert_eq!((one.0.load(Ordering::SeqCst), two.0.load(Ordering::SeqCst)), (1, 1));
    }

    #[test]
    fn those_that_joined_ring_together_until_they_leave() {
        let alarms = Alarms::default();
        let (one, two) = (Alarm::new(), Alarm::new());
        let asleep = Context::from_waker(Waker::noop());
        let (first, second) = (alarms.join(&one), alarms.join(&two));
        assert!(one.rang(&asleep) && two.rang(&asleep));
        alarms.ring();
        assert!(one.rang(&asleep) && two.rang(&asleep));
        drop(first);
        alarms.ring();
        assert!(!one.rang(&asleep) && two.rang(&asleep));
        drop(second);
    }
}
