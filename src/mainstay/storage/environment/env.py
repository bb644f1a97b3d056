"""What does Alembic run for each upgrade? Connection and transaction belong to `mainstay.storage.migrate`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
