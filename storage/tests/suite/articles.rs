//! The knowledge base.

use std::time::Duration;

use domain::Lang;
use domain::article::{Article, ArticleCategory, ArticleStatus};
use storage::articles::{self, ArticleFilter, ArticleOrder, CategoryUse, Mirror};
use storage::{StorageError, datastores, sources, workspaces};

use crate::support::{Place, ids, places};

fn category(place: &Place, slug: &str, order: i64) -> ArticleCategory {
    let now = place.now();
    ArticleCategory {
        id: place.ambient.new_id(),
        slug: slug.to_owned(),
        names: [("es".to_owned(), "Entradas".to_owned())].into(),
        place: order,
        created_at: now,
        updated_at: now,
    }
}

fn article(place: &Place, slug: &str, status: ArticleStatus) -> Article {
    let now = place.later(Duration::from_millis(1));
    Article {
        id: place.ambient.new_id(),
        workspace_id: place.ws(),
        language: Lang::Es,
        slug: slug.to_owned(),
        title: format!("Devolución {slug}"),
        content: "Podrás cambiar tus entradas: 100 % seguro_".to_owned(),
        status,
        category_id: None,
        author_id: None,
        tags: vec!["cambios".to_owned(), "dinero".to_owned()],
        version: 1,
        helpful: 0,
        unhelpful: 0,
        published_at: (status == ArticleStatus::Published).then_some(now),
        created_at: now,
        updated_at: now,
    }
}

#[tokio::test]
async fn articles_read_back_and_are_found() {
    for place in places("articles").await {
        let (ws, foreign) = (place.ws(), place.stranger());
        let (first, second) = (category(&place, "uno", 1), category(&place, "dos", 0));
        let mut tx = place.write().await;
        articles::insert_category(&mut tx, ws, &first).await.unwrap();
        articles::insert_category(&mut tx, ws, &second).await.unwrap();
        let public = Article {
            category_id: Some(first.id),
            ..article(&place, "a", ArticleStatus::Published)
        };
        let draft = article(&place, "a-2", ArticleStatus::Draft);
        articles::insert(&mut tx, &public).await.unwrap();
        articles::insert(&mut tx, &draft).await.unwrap();
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        assert_eq!(articles::get(&mut conn, ws, public.id).await.unwrap(), Some(public.clone()));
        assert_eq!(articles::get(&mut conn, foreign, public.id).await.unwrap(), None);
        let found = async |conn: &mut storage::Conn, filter: ArticleFilter| {
            let order = (ArticleOrder::Created, false);
            let list = articles::list(conn, ws, &filter, order, 0, 10).await.unwrap();
            let count = articles::count(conn, ws, &filter).await.unwrap();
            assert_eq!(usize::try_from(count), Ok(list.len()));
            assert_eq!(articles::count(conn, foreign, &filter).await.unwrap(), 0);
            ids(&list, |one| one.id)
        };
        let words = |words: &[&str]| ArticleFilter {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            ..ArticleFilter::default()
        };
        assert_eq!(found(&mut conn, ArticleFilter::default()).await, [public.id, draft.id]);
        assert_eq!(found(&mut conn, words(&["devolucion", "podras"])).await, [public.id, draft.id]);
        assert_eq!(found(&mut conn, words(&["seguro_"])).await, [public.id, draft.id]);
        assert!(found(&mut conn, words(&["1_0"])).await.is_empty(), "no pattern");
        assert!(found(&mut conn, words(&["100%"])).await.is_empty(), "no pattern");
        let only = ArticleFilter { status: Some(ArticleStatus::Draft), ..ArticleFilter::default() };
        assert_eq!(found(&mut conn, only).await, [draft.id]);
        let only = ArticleFilter { category: Some(first.id), ..ArticleFilter::default() };
        assert_eq!(found(&mut conn, only).await, [public.id]);
        let only = ArticleFilter {
            tag: Some("dinero".to_owned()),
            language: Some(Lang::En),
            ..ArticleFilter::default()
        };
        assert!(found(&mut conn, only).await.is_empty());
        let (all, uses) = articles::categories(&mut conn, ws).await.unwrap();
        assert_eq!(ids(&all, |one| one.id), [second.id, first.id]);
        let of_first = CategoryUse { category: Some(first.id), language: Lang::Es, articles: 1 };
        assert_eq!(uses, [of_first]);
        let shown = articles::published(&mut conn, ws, Lang::Es, "a").await.unwrap();
        assert_eq!(shown.map(|one| one.id), Some(public.id));
        assert_eq!(articles::published(&mut conn, ws, Lang::Es, "a-2").await.unwrap(), None);
        let taken = articles::taken_slugs(&mut conn, ws, Lang::Es, "a").await.unwrap();
        assert_eq!(taken.len(), 2);
        drop(conn);

        let mut tx = place.write().await;
        assert!(articles::rate(&mut tx, ws, Lang::Es, "a", true).await.unwrap());
        assert!(articles::rate(&mut tx, ws, Lang::Es, "a", false).await.unwrap());
        assert!(!articles::rate(&mut tx, ws, Lang::Es, "a-2", true).await.unwrap());
        assert!(!articles::rate(&mut tx, foreign, Lang::Es, "a", true).await.unwrap());
        let locked = articles::lock(&mut tx, ws, public.id).await.unwrap().unwrap();
        assert_eq!((locked.helpful, locked.unhelpful), (1, 1));
        let changed = Article { title: "Otra".to_owned(), tags: Vec::new(), version: 2, ..locked };
        assert!(articles::update(&mut tx, &changed).await.unwrap());
        assert!(articles::delete_category(&mut tx, ws, first.id).await.unwrap());
        let renamed = ArticleCategory { slug: "tres".to_owned(), ..second.clone() };
        assert!(articles::update_category(&mut tx, ws, &renamed).await.unwrap());
        assert_eq!(articles::category(&mut tx, ws, second.id).await.unwrap(), Some(renamed));
        assert_eq!(articles::category(&mut tx, foreign, second.id).await.unwrap(), None);
        let stored = articles::get(&mut tx, ws, public.id).await.unwrap();
        assert_eq!(stored, Some(Article { category_id: None, ..changed }));
        assert!(!articles::delete(&mut tx, foreign, draft.id).await.unwrap());
        assert!(articles::delete(&mut tx, ws, draft.id).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let clash = articles::insert(&mut tx, &article(&place, "a", ArticleStatus::Draft)).await;
        assert!(matches!(clash, Err(StorageError::Conflict(_))), "{clash:?}");
    }
}

#[tokio::test]
async fn an_articles_source_is_known_until_it_is_gone() {
    for place in places("article mirrors").await {
        let ws = place.ws();
        let system =
            domain::datastore::Datastore { is_system: true, ..place.datastore("artículos") };
        let source = place.source(system.id, "Devoluciones");
        let one = article(&place, "a", ArticleStatus::Published);
        let mut tx = place.write().await;
        assert_eq!(datastores::system(&mut tx, ws).await.unwrap(), None);
        datastores::insert(&mut tx, &system).await.unwrap();
        assert_eq!(datastores::system(&mut tx, ws).await.unwrap(), Some(system.clone()));
        let defaults = datastores::defaults(&mut tx, ws).await.unwrap();
        assert!(defaults.iter().any(|one| one.id == system.id) && defaults.len() == 2);
        sources::insert(&mut tx, ws, std::slice::from_ref(&source)).await.unwrap();
        assert!(
            sources::set_link(&mut tx, ws, source.id, Some("https://a.cl/ayuda")).await.unwrap()
        );
        articles::want_mirror(&mut tx, &place.ambient, ws, one.id, None).await.unwrap();
        for version in [1, 2] {
            let mirror = Mirror { source: source.id, version };
            articles::set_mirror(&mut tx, ws, one.id, mirror).await.unwrap();
            assert_eq!(articles::mirror(&mut tx, ws, one.id).await.unwrap(), Some(mirror));
        }
        assert_eq!(articles::mirror(&mut tx, place.stranger(), one.id).await.unwrap(), None);
        sources::delete(&mut tx, ws, source.id).await.unwrap();
        assert_eq!(articles::mirror(&mut tx, ws, one.id).await.unwrap(), None);
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let home = &place.home;
        let by_code = workspaces::by_code(&mut conn, &home.workspace.code).await.unwrap();
        assert_eq!(by_code.map(|found| found.id), Some(ws));
        assert_eq!(workspaces::by_code(&mut conn, "nobody").await.unwrap(), None);
    }
}
