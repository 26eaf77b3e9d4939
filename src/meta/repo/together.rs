//! Readers of single images who come at the same time ask together.
//!
//! A statement costs a database far more than the rows that it finds. So no more than
//! [`DB_GETS_AT_ONCE`] are under way for single images; who comes meanwhile waits for the next one,
//! which asks for all who wait then. It begins after they came, so that nobody is told anything
//! older than the question. Who comes alone waits for nobody.
//!
//! Nobody depends on another: when whoever asks for others fails, is dropped, or takes longer than
//! [`DB_GET_WAIT`], each asks alone.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::image::{Image, ImageId};
use crate::limits::{DB_GET_WAIT, DB_GETS_AT_ONCE, DB_GETS_TOGETHER_MAX};
use crate::meta::MetaError;

/// What is known of each of some images.
type Answers = Vec<Result<Image, MetaError>>;

/// Who asks, and who waits.
#[derive(Clone, Debug)]
pub(super) struct Together {
    queue: Arc<Mutex<Queue>>,
    /// How long anybody waits.
    patience: Duration,
}

#[derive(Debug, Default)]
struct Queue {
    /// Places that are taken.
    asking: usize,
    waiting: VecDeque<Waiter>,
}

/// Somebody who waits for an image, or for a place.
#[derive(Debug)]
struct Waiter {
    id: ImageId,
    turn: oneshot::Sender<Turn>,
}

/// What becomes of somebody who waits.
#[derive(Debug)]
enum Turn {
    /// Another has asked for them.
    Answer(Box<Result<Image, MetaError>>),
    /// They are to ask, for whoever waits then.
    Place(Place),
}

/// One of the [`DB_GETS_AT_ONCE`]. Dropped, it is the next one's.
#[derive(Debug)]
struct Place(Option<Together>);

impl Together {
    pub(super) fn new() -> Self {
        Self { queue: Arc::default(), patience: DB_GET_WAIT }
    }

    /// The image, by `ask`, which answers for each of some ids in their order.
    pub(super) async fn get<F>(
        &self,
        id: &ImageId,
        ask: impl FnOnce(Vec<ImageId>) -> F,
    ) -> Result<Image, MetaError>
    where
        F: Future<Output = Result<Answers, MetaError>>,
    {
        let turn = match self.enter(id) {
            Ok(place) => Some(Turn::Place(place)),
            Err(turn) => timeout(self.patience, turn).await.ok().and_then(Result::ok),
        };
        let place = match turn {
            Some(Turn::Answer(answer)) => return *answer,
            Some(Turn::Place(place)) => Some(place),
            None => None,
        };
        let others = place.as_ref().map(|_| self.take_waiting()).unwrap_or_default();
        let ids = std::iter::once(id).chain(others.iter().map(|other| &other.id));
        let mut answers = ask(ids.cloned().collect()).await?.into_iter();
        drop(place);
        let own = answers.next().unwrap_or_else(|| Err(MetaError::NotFound(id.clone())));
        for (other, answer) in others.into_iter().zip(answers) {
            // Who has left needs no answer.
            let _ = other.turn.send(Turn::Answer(Box::new(answer)));
        }
        own
    }

    /// Takes a place if there is one, and queues otherwise.
    fn enter(&self, id: &ImageId) -> Result<Place, oneshot::Receiver<Turn>> {
        let mut queue = self.queue();
        if queue.asking < DB_GETS_AT_ONCE {
            queue.asking += 1;
            return Ok(Place(Some(self.clone())));
        }
        let (turn, receiver) = oneshot::channel();
        queue.waiting.push_back(Waiter { id: id.clone(), turn });
        Err(receiver)
    }

    /// Those who are asked for together with whoever has got a place.
    fn take_waiting(&self) -> Vec<Waiter> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(DB_GETS_TOGETHER_MAX - 1);
        queue.waiting.drain(..count).collect()
    }

    /// Who is next; a place becomes free when it is nobody.
    fn next(&self) -> Option<Waiter> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.asking -= 1;
        }
        next
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(mut together) = self.0.take() else { return };
        while let Some(next) = together.next() {
            match next.turn.send(Turn::Place(Self(Some(together)))) {
                // Whoever has left with a place in hand drops that one.
                Ok(()) | Err(Turn::Answer(_)) => return,
                Err(Turn::Place(mut refused)) => match refused.0.take() {
                    Some(kept) => together = kept,
                    None => return,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::poll_fn;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;

    use super::*;

    /// A database that answers when it is allowed to, and counts what it is asked.
    #[derive(Clone)]
    struct Slow {
        together: Together,
        may_answer: Arc<Semaphore>,
        asked: Arc<Mutex<Vec<usize>>>,
    }

    impl Slow {
        /// Nobody loses patience, however slow the machine is.
        fn new() -> Self {
            let patience = Duration::from_secs(3600);
            Self {
                together: Together { patience, ..Together::new() },
                may_answer: Arc::new(Semaphore::new(0)),
                asked: Arc::default(),
            }
        }

        async fn get(&self, id: &ImageId) -> Result<Image, MetaError> {
            self.together
                .get(id, async |ids| {
                    self.asked.lock().unwrap().push(ids.len());
                    let answer = self.may_answer.acquire().await;
                    answer.map_err(|_| MetaError::NotFound(ids[0].clone()))?.forget();
                    Ok(ids.into_iter().map(|id| Ok(Image::queued(id))).collect())
                })
                .await
        }

        /// Asks for an image of its own `count` times at once, and waits until all of them wait.
        async fn crowd(&self, count: usize) -> JoinSet<bool> {
            let mut crowd = JoinSet::new();
            for _ in 0..count {
                let (slow, id) = (self.clone(), ImageId::random());
                crowd.spawn(async move { slow.get(&id).await.is_ok_and(|image| image.id == id) });
            }
            let waiting = count.saturating_sub(DB_GETS_AT_ONCE);
            while self.together.queue().waiting.len() < waiting {
                tokio::task::yield_now().await;
            }
            crowd
        }

        fn asked(&self) -> Vec<usize> {
            self.asked.lock().unwrap().clone()
        }

        fn is_idle(&self) -> bool {
            let queue = self.together.queue();
            queue.asking == 0 && queue.waiting.is_empty()
        }
    }

    /// Polls once, and tells whether that was not enough.
    async fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn who_comes_meanwhile_is_asked_for_at_once() {
        let slow = Slow::new();
        let crowd = slow.crowd(DB_GETS_AT_ONCE + 5).await;
        slow.may_answer.add_permits(DB_GETS_AT_ONCE + 1);
        assert!(crowd.join_all().await.into_iter().all(|is_its_own| is_its_own));
        let alone = [1].repeat(DB_GETS_AT_ONCE);
        assert_eq!(slow.asked(), [&alone[..], &[5]].concat());
        assert!(slow.is_idle());
    }

    #[tokio::test]
    async fn one_statement_asks_for_no_more_than_it_may() {
        let slow = Slow::new();
        let crowd = slow.crowd(DB_GETS_AT_ONCE + DB_GETS_TOGETHER_MAX + 1).await;
        slow.may_answer.add_permits(DB_GETS_AT_ONCE + 2);
        assert!(crowd.join_all().await.into_iter().all(|is_its_own| is_its_own));
        assert_eq!(slow.asked()[DB_GETS_AT_ONCE..], [DB_GETS_TOGETHER_MAX, 1]);
        assert!(slow.is_idle());
    }

    /// A statement that fails is the failure of whoever asked. The others ask alone.
    #[tokio::test]
    async fn a_failure_is_not_shared() {
        let slow = Slow::new();
        let id = ImageId::random();
        let answers = AtomicUsize::new(0);
        let fails = slow.together.get(&id, async |_| {
            answers.fetch_add(1, Ordering::SeqCst);
            Err(MetaError::NotFound(id.clone()))
        });
        assert!(fails.await.is_err());
        assert!(slow.is_idle() && answers.into_inner() == 1);
        let crowd = slow.crowd(DB_GETS_AT_ONCE + 3).await;
        slow.may_answer.close();
        assert_eq!(crowd.join_all().await, [false].repeat(DB_GETS_AT_ONCE + 3));
        assert_eq!(slow.asked()[DB_GETS_AT_ONCE..], [3, 1, 1]);
        assert!(slow.is_idle());
    }

    /// Whoever is dropped, with a place or without, leaves it to others.
    #[tokio::test]
    async fn whoever_leaves_keeps_nobody_waiting() {
        for leaver in 0..DB_GETS_AT_ONCE + 3 {
            let slow = Slow::new();
            let ids: Vec<_> = (0..DB_GETS_AT_ONCE + 3).map(|_| ImageId::random()).collect();
            let mut gets: Vec<_> = ids.iter().map(|id| Box::pin(slow.get(id))).collect();
            for get in &mut gets {
                assert!(is_pending(get).await);
            }
            drop(gets.remove(leaver));
            slow.may_answer.add_permits(gets.len());
            for image in futures_util::future::join_all(gets).await {
                image.unwrap();
            }
            assert!(slow.is_idle(), "{leaver}");
        }
    }

    /// A place that is given to somebody who leaves before they know goes on.
    #[tokio::test]
    async fn a_place_in_the_hand_of_a_leaver_goes_on() {
        let slow = Slow::new();
        let mut first = slow.crowd(DB_GETS_AT_ONCE).await;
        tokio::task::yield_now().await;
        let [gone, stays] = [ImageId::random(), ImageId::random()];
        let [mut gone, mut stays] = [&gone, &stays].map(|id| Box::pin(slow.get(id)));
        assert!(is_pending(&mut gone).await && is_pending(&mut stays).await);
        slow.may_answer.add_permits(1);
        first.join_next().await;
        drop(gone);
        slow.may_answer.add_permits(DB_GETS_AT_ONCE);
        stays.await.unwrap();
        first.join_all().await;
        assert!(slow.is_idle());
    }

    /// A statement that hangs holds up nobody for long.
    #[tokio::test]
    async fn who_waits_too_long_asks_alone() {
        let mut slow = Slow::new();
        let mut stuck = JoinSet::new();
        for _ in 0..DB_GETS_AT_ONCE + 1 {
            let patient = slow.clone();
            stuck.spawn(async move { patient.get(&ImageId::random()).await.is_ok() });
            while slow.asked().len() < stuck.len().min(DB_GETS_AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        slow.together.patience = Duration::from_millis(1);
        let impatient = slow.clone();
        stuck.spawn(async move { impatient.get(&ImageId::random()).await.is_ok() });
        while slow.asked().len() < DB_GETS_AT_ONCE + 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(slow.asked(), [1].repeat(DB_GETS_AT_ONCE + 1));
    }
}
