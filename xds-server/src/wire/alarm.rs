//! Futures that are rarely ready, beside one that often is.
//!
//! A task that is woken for one of its futures polls all of them, and each poll goes through memory of its own. The rare
//! ones are given an alarm as their waker; as long as it has not rung, they are not polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Alarm(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    rang: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Alarm {
    /// An alarm that has rung, so that the futures are polled a first time.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Bell { rang: AtomicBool::new(true), task: Mutex::default() }))
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// The waker for the rare futures, if one of them may be ready.
    ///
    /// All of them have to be polled with it until they are pending.
    pub(crate) fn rang(&self, cx: &Context<'_>) -> Option<Waker> {
        let mut task = self.0.task.lock();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        // After the task is known: whoever rings from here on wakes it.
        self.0.rang.swap(false, Ordering::AcqRel).then(|| self.waker())
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
        let waker = alarm.rang(&Context::from_waker(&first)).unwrap();
        assert!(alarm.rang(&Context::from_waker(&first)).is_none(), "nobody rang");
        waker.wake_by_ref();
        assert_eq!(one.0.load(Ordering::SeqCst), 1);
        assert!(alarm.rang(&Context::from_waker(&second)).is_some());
        waker.wake();
        assert_eq!((one.0.load(Ordering::SeqCst), two.0.load(Ordering::SeqCst)), (1, 1));
    }
}
