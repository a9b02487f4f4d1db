use super::*;

#[test]
fn pieces_split_between_characters_and_join_to_the_original_text() {
    let text = "é".repeat(FRAME_BYTES);
    let parts = pieces(&text);
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|part| part.text.len() <= FRAME_BYTES && part.of == 2));
    assert_eq!(parts.iter().map(|part| part.text.as_str()).collect::<String>(), text);
}

fn ready() -> Arc<Entry> {
    let event = Event::TaskReady(gleitzeit_run::event::TaskReady {
        task_id: "t".into(),
        method: "m/x".into(),
        provider: None,
        queue: "q".into(),
        priority: gleitzeit_workflow::spec::Priority(2),
        retry: gleitzeit_workflow::spec::RetryPolicy::default(),
        parameters: Payload::from_value(&serde_json::json!({"n": 1})),
    });
    let run_id = Some(gleitzeit_run::id::RunId(uuid::Uuid::from_u128(1)));
    let (seq, recorded_at) = (gleitzeit_run::id::Seq(2), gleitzeit_workflow::time::Timestamp(0));
    Arc::new(Entry { position: Position(1), run_id, seq, recorded_at, queue: Some("q".into()), event })
}

#[test]
fn a_local_component_receives_the_same_items_as_a_remote_one() {
    let kept = Kept::new(ready());
    let mut cursor = Cursor::new(false, Position(0), Instant(0));
    cursor.slices.insert(Slice::Queue("q".into()), Position(0));
    let item = |is_within| cursor.item(Some(Role::Queue), is_within, &kept).expect("it owns the queue");
    let (within, outside) = (item(true), item(false));
    assert!(within.data.is_none() && within.whole.is_some() && outside.whole.is_none());
    let read = |item: &EventsItem| item.entry().expect("readable").expect("an entry");
    assert_eq!(read(&within), read(&outside));
    assert_eq!(read(&within), without_payload(&kept.entry));
    // It is made once, however many receivers there are.
    assert!(item(true).whole.zip(within.whole).is_some_and(|(one, other)| Arc::ptr_eq(&one, &other)));
}
