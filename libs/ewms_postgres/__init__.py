"""A PostgreSQL of ours: by URL or embedded, with pool, statements, migrations and notifications.

`database` runs `statements` and raises `errors`; `notifications` wakes other processes after
commits; `leadership` elects one process for a loop; `migrations` brings a schema up to date;
`embedded` and `data_folder` keep a server and its files for those who bring none. Everything is
asyncio, nothing blocks the event loop, and nothing here knows what is stored.
"""
